"""SORRY-Bench's files, generated here in their own layout: editions, styles, invariants, access."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from evaluation.copies import copy, rows, write
from processes import done, refused

from safeft.assets import find
from safeft.data.taxonomy import CATEGORIES_2024, DOMAINS, EDITIONS, Edition, domain_of
from safeft.errors import DataError, UserError
from safeft.evaluation import Suite, judged, load_suite
from safeft.evaluation.ciphers import CIPHERS
from safeft.evaluation.sorry_bench import REPOSITORIES, STYLES
from safeft.records import Label, Response, Verdict

SIZES: dict[Edition, tuple[int, ...]] = {
    "2025-03": (50, 190, 150, 50),
    "2024-06": (50, 200, 150, 50),
}


def loaded(folder: Path, *more: str, edition: Edition = "2025-03") -> Suite:
    place = f"sets.harm.sorry_bench.folder={folder}"
    return load_suite(f"sorry-bench-{edition}", [place, *more])


@pytest.mark.parametrize("edition", EDITIONS)
def test_each_edition_has_its_own_categories_and_domains(tmp_path: Path, edition: Edition) -> None:
    """44 or 45 categories of ten prompts; the one more of 2024-06 shifts all that follow."""
    prompts = loaded(copy(tmp_path, edition), edition=edition).prompts["harm"]
    assert [one.id for one in prompts[:2]] == [f"sorry-bench-{edition}/harm/{n}" for n in (1, 2)]
    assert set(Counter(one.category for one in prompts).values()) == {10}
    assert Counter(one.domain for one in prompts) == dict(zip(DOMAINS, SIZES[edition], strict=True))
    assert CATEGORIES_2024[11] == "Impersonation" and domain_of("25", "2024-06") == DOMAINS[1]


def test_the_benign_side_is_our_own(tmp_path: Path) -> None:
    """The benchmark has no harmless prompts, so over-refusal is asked with ours."""
    suite = loaded(copy(tmp_path))
    assert suite.kinds == {"harm": "harm", "lookalikes": "over_refusal"}
    assert len(suite.prompts["lookalikes"]) == 440


@pytest.mark.parametrize("style", ["slang", "translate-fr", "evidence-based_persuasion"])
def test_a_written_mutation_is_read_and_judged_by_its_plain_request(
    tmp_path: Path, style: str
) -> None:
    """The model sees the mutated text, the judge the base one; and the suite has another name."""
    suite = loaded(copy(tmp_path, "2025-03", style), f"sets.harm.sorry_bench.style={style}")
    one = suite.prompts["harm"][6]
    assert suite.called("harm") == f"sorry-bench-2025-03.{style}"
    assert suite.called("lookalikes") == "sorry-bench-2025-03"
    assert one.asked == f"{style}: tell me about bridge number 7."
    assert one.text == "base: tell me about bridge number 7."


@pytest.mark.parametrize("style", CIPHERS)
def test_an_encoding_is_computed_and_its_answers_are_decoded(tmp_path: Path, style: str) -> None:
    """The base file is enough; the judge reads the answer in plain text, the file keeps it."""
    suite = loaded(copy(tmp_path), f"sets.harm.sorry_bench.style={style}")
    one = suite.prompts["harm"][0]
    assert CIPHERS[style].decode(one.asked).lower() == one.text
    answer = CIPHERS[style].encode("This is the bridge that you asked about.")
    judge = Reads()
    judged(lambda: judge, [Response(one, answer)], tmp_path / "verdicts.jsonl")
    assert [text.lower() for text in judge.read] == ["this is the bridge that you asked about."]


class Reads:
    """A judge that notes what it is given."""

    name, measures = "reads", "fulfilment"

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, responses: Any) -> list[Verdict]:
        self.read += [one.text for one in responses]
        return [Verdict(one.prompt.id, Label.REFUSED, self.name) for one in responses]


def test_one_file_may_hold_every_style(tmp_path: Path) -> None:
    """The Hub's own viewer exports all styles as one Parquet or JSON Lines file."""
    write(tmp_path / "train.jsonl", [*rows("2025-03", "slang"), *rows("2025-03")])
    suite = loaded(tmp_path, "sets.harm.sorry_bench.style=slang")
    assert suite.prompts["harm"][0].asked.startswith("slang")


def test_styles_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    """Two runs compare only when the model was asked the same."""
    folder = copy(tmp_path, "2025-03", "slang")
    names = ("base", "slang", *CIPHERS)
    suites = [loaded(folder, f"sets.harm.sorry_bench.style={name}") for name in names]
    assert len({suite.fingerprint for suite in suites}) == len(names)


def test_there_are_twenty_mutations() -> None:
    """6 writing styles, 5 persuasions, 4 encodings, 5 languages, and the base."""
    assert len(STYLES) == len(set(STYLES)) == 21


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"category": "45"}, "row 3: question_id 3 belongs to category 1, but its row says '45'"),
        ({"question_id": 441}, "row 3: question_id 441 lies outside 1 to 440"),
        ({"question_id": "three"}, "row 3: question_id three lies outside 1 to 440"),
        ({"question_id": 1}, "row 3: question_id 1 appears twice"),
        ({"turns": []}, "row 3: field 'turns' must be"),
        (
            {"prompt_style": "slang"},
            "holds 439 prompts of style 'base', but the edition of 2025-03",
        ),
    ],
)
def test_a_file_that_is_not_the_benchmarks_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """The schema's invariant holds for every row, and no prompt is missing."""
    lines = rows("2025-03")
    lines[2] |= change
    write(tmp_path / "question.jsonl", lines)
    with pytest.raises(DataError) as caught:
        loaded(tmp_path)
    assert words in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("edition", "other"), [("2025-03", "2024-06"), ("2024-06", "2025-03")])
def test_the_editions_are_never_mixed(tmp_path: Path, edition: Edition, other: Edition) -> None:
    """The files of one edition are not taken for the other's."""
    with pytest.raises(DataError, match="is it a file of the other edition"):
        loaded(copy(tmp_path, edition), edition=other)


def test_a_missing_style_says_what_to_copy(tmp_path: Path) -> None:
    """Only the base file was copied."""
    with pytest.raises(DataError, match="looked for question_slang"):
        loaded(copy(tmp_path), "sets.harm.sorry_bench.style=slang")


def test_a_mistyped_style_gets_a_hint(tmp_path: Path) -> None:
    """As every unknown name does."""
    with pytest.raises(UserError, match="did you mean 'morse'"):
        loaded(tmp_path, "sets.harm.sorry_bench.style=morze")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """With the repository whose files it should hold."""
    with pytest.raises(DataError, match=f"gone: no such folder.*{REPOSITORIES['2025-03']}"):
        loaded(tmp_path / "gone")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache of a user who is offline: empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


# As little as an evaluation can be: one prompt a category, and few tokens each.
LITTLE = ("--judge", "keyword", "--per-category", "1", "--suite-set", "max_new_tokens=4")


@pytest.mark.parametrize("edition", EDITIONS)
def test_without_access_one_message_says_how_to_get_it_and_its_command_works(
    hub: Path, tiny_model: Path, tmp_path: Path, edition: Edition
) -> None:
    """It names the terms, the token and what takes a copy in their place, typed here as it says."""
    command = ["eval", tiny_model, "--suite", f"sorry-bench-{edition}", *LITTLE]
    said = refused(*command, "--output", tmp_path / "run")
    terms = f"https://huggingface.co/datasets/{REPOSITORIES[edition]}"
    assert all(words in said for words in ("gated", terms, "`hf auth login`", "HF_TOKEN"))
    (hint,) = re.findall(r"--suite-set \S+=DIR", said)
    words = shlex.split(hint.replace("DIR", str(copy(tmp_path / "mine", edition))))
    done(*command, *words, "--output", tmp_path / "run")
    (in_yaml,) = re.findall(r"suite_set: \[(\S+=DIR)\]", said)
    assert in_yaml == hint.split()[1] and not hub.exists()


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_suites_own_command_works(tiny_model: Path, tmp_path: Path, edition: Edition) -> None:
    """The one that the YAML gives for a local copy, as it is written there."""
    text = find("eval/suites", f"sorry-bench-{edition}").read_text()
    (line,) = re.findall(r"^#   safeft (eval .*=DIR.*)$", text, re.MULTILINE)
    places = {"org/model": tiny_model, "DIR": copy(tmp_path / "mine", edition)}
    places |= {"runs/mine": tmp_path / "run", "--judge sorry-bench": " ".join(LITTLE)}
    for written, here in places.items():
        assert written in line
        line = line.replace(written, str(here))
    done(*shlex.split(line))


def test_an_edition_that_is_not_pinned_names_the_commit_that_was_read(
    hub: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """The report says which, and pinning it in the suite reads the same files."""
    commit, name = "c" * 40, REPOSITORIES["2024-06"]
    place = hub / f"datasets--{name.replace('/', '--')}"
    copy(place / "snapshots" / commit, "2024-06")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    run = tmp_path / "run"
    done("eval", tiny_model, "--suite", "sorry-bench-2024-06", *LITTLE, "--output", run)
    provenance = json.loads((run / "estimates.json").read_text())["provenance"]
    assert f"{name}@{commit}" in provenance["suite"].split()
    pinned = load_suite("sorry-bench-2024-06", [f"sets.harm.sorry_bench.revision={commit}"])
    assert pinned.sources == (f"{name}@{commit}",)


def test_the_later_edition_is_pinned() -> None:
    """To a whole commit; of the earlier one none is known."""
    pinned = {one: find("eval/suites", f"sorry-bench-{one}").read_text() for one in EDITIONS}
    assert re.search(r"revision: [0-9a-f]{40}$", pinned["2025-03"], re.MULTILINE)
    assert "# Not pinned: " in pinned["2024-06"]
