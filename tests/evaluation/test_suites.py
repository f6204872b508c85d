"""Suites: the shipped one is what it says, and a broken one names file, row and field."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from safeft.data.taxonomy import CATEGORIES, DOMAINS, domain_of
from safeft.errors import ConfigError, DataError
from safeft.evaluation import Suite, load_suite
from safeft.records import Message

ROW = {
    "question_id": 1,
    "category": "7",
    "turns": ["What is a heist film?"],
    "prompt_style": "base",
}
DOMAIN_SIZES = dict(zip(DOMAINS, (50, 190, 150, 50), strict=True))


@pytest.fixture(scope="module")
def shipped() -> Suite:
    return load_suite("safeft-44")


def test_the_shipped_suite_covers_every_category_ten_times(shipped: Suite) -> None:
    """880 prompts: in each of two sets, 44 categories of 10, in the domains of SORRY-Bench."""
    assert shipped.kinds == {"harm": "harm", "lookalikes": "over_refusal"}
    assert len(shipped.all_prompts()) == 880
    for prompts in shipped.prompts.values():
        assert Counter(one.category for one in prompts) == {
            str(number): 10 for number in range(1, len(CATEGORIES) + 1)
        }
        assert Counter(one.domain for one in prompts) == DOMAIN_SIZES
        assert all(one.domain == domain_of(one.category) for one in prompts)


def test_every_prompt_of_the_shipped_suite_has_one_id_and_one_text(shipped: Suite) -> None:
    """Ids are unique over both sets and say where a prompt belongs; texts are never asked twice."""
    prompts = shipped.all_prompts()
    assert len({one.id for one in prompts}) == len({one.text for one in prompts}) == 880
    assert prompts[0].id == "safeft-44/harm/1" and prompts[-1].id == "safeft-44/lookalikes/440"
    assert all(one.messages == (Message("user", one.text),) for one in prompts)


@pytest.mark.parametrize("wanted", [1, 3, 10, 99])
def test_per_category_keeps_the_first_of_each(shipped: Suite, wanted: int) -> None:
    """A smaller suite is a part of the larger one, balanced and in its order."""
    small = load_suite("safeft-44", [f"per_category={wanted}"])
    for key, prompts in small.prompts.items():
        whole = shipped.prompts[key]
        kept = [one for n, one in enumerate(whole) if n % 10 < wanted]  # categories lie in blocks
        assert list(prompts) == kept
    assert (small.fingerprint == shipped.fingerprint) == (wanted >= 10)


def write(folder: Path, rows: list[Any] | str, **suite: Any) -> Path:
    """A suite YAML (JSON is YAML) beside its prompt file."""
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    values = {"name": "mine", "sets": {"harm": {"kind": "harm", "prompts": "prompts.jsonl"}}}
    (folder / "mine.yaml").write_text(json.dumps(values | suite))
    return folder / "mine.yaml"


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    """Any YAML is a suite; its categories may be of another taxonomy; blank lines do not count."""
    rows = json.dumps(ROW) + "\n\n" + json.dumps(ROW | {"question_id": "b", "category": "pets"})
    suite = load_suite(str(write(tmp_path, rows, max_new_tokens=99)))
    one, other = suite.prompts["harm"]
    assert (suite.name, suite.max_new_tokens) == ("mine", 99)
    assert (one.id, one.category, one.domain) == ("mine/harm/1", "7", DOMAINS[1])
    assert (other.id, other.category, other.domain) == ("mine/harm/b", "pets", "pets")


def test_unicode_in_a_prompt_is_no_end_of_line(tmp_path: Path) -> None:
    """U+2028 inside a prompt belongs to it."""
    rows = json.dumps(ROW | {"turns": ["one\u2028two"]}, ensure_ascii=False)
    assert load_suite(str(write(tmp_path, rows))).all_prompts()[0].text == "one\u2028two"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"turns": "text"}, "field 'turns' must be a list of non-empty strings"),
        ({"turns": []}, "field 'turns' must be a list of non-empty strings"),
        ({"turns": [" "]}, "field 'turns' must be a list of non-empty strings"),
        ({"turns": [3]}, "field 'turns' must be a list of non-empty strings"),
        ({"turns": ["one", "two"]}, "field 'turns' has 2 turns; only one is supported"),
        ({"category": 7}, "field 'category' must be a non-empty string, such as '7'"),
        ({"category": ""}, "field 'category' must be a non-empty string, such as '7'"),
        ({"question_id": None}, "field 'question_id' must be a number or a string"),
        ({"question_id": True}, "field 'question_id' must be a number or a string"),
    ],
)
def test_a_broken_row_is_named_by_file_row_and_field(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """Whatever is wrong with a prompt, the message says where it is."""
    path = write(tmp_path, [ROW, ROW | {"question_id": 2} | change])
    with pytest.raises(DataError) as caught:
        load_suite(str(path))
    assert str(caught.value) == f"{tmp_path / 'prompts.jsonl'}, row 2: {words}"


@pytest.mark.parametrize("field", ["turns", "category", "question_id"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    """A row without one of the three fields names it."""
    row = {key: value for key, value in ROW.items() if key != field}
    with pytest.raises(DataError, match=rf"prompts\.jsonl, row 1: field '{field}'"):
        load_suite(str(write(tmp_path, [row])))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "prompts.jsonl: holds no prompts"),
        (json.dumps(ROW) + "\n{broken\n", "prompts.jsonl, row 2: not JSON"),
        ("[1, 2]\n", "prompts.jsonl, row 1: expected an object"),
        ([ROW, ROW], "prompts.jsonl: question_id 1 appears twice"),
        ([ROW, ROW | {"question_id": "1"}], "prompts.jsonl: question_id 1 appears twice"),
    ],
)
def test_a_broken_prompt_file_is_the_users_to_mend(
    tmp_path: Path, rows: list[Any] | str, words: str
) -> None:
    """A user's file is never called one that safeft wrote, nor is its deletion advised."""
    with pytest.raises(DataError) as caught:
        load_suite(str(write(tmp_path, rows)))
    assert words in str(caught.value) and "delete" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sets": {"harm": {"kind": "harmless", "prompts": "p"}}}, "sets.harm.kind: "),
        ({"sets": {}}, "sets: "),
        ({"sets": {"harm": {"kind": "harm", "prompts": "gone"}}}, "no prompt file 'gone'"),
        ({"per_category": 0}, "per_category: "),
        ({"max_new_tokens": -1}, "max_new_tokens: "),
        ({"names": "x"}, "unknown key; did you mean 'name'?"),
        ({"name": ""}, "name: "),
        ({"name": "../elsewhere"}, "name: "),
        ({"sets": {"a/b": {"kind": "harm", "prompts": "prompts.jsonl"}}}, "sets.a/b"),
    ],
)
def test_a_broken_yaml_is_named_by_its_key(
    tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    """Wrong kinds, sizes and names, also such as would leave the run's folder, are refused."""
    with pytest.raises(ConfigError) as caught:
        load_suite(str(write(tmp_path, [ROW], **values)))
    assert str(tmp_path / "mine.yaml") in str(caught.value) and words in str(caught.value)


def test_an_unknown_suite_is_refused_with_the_nearest() -> None:
    """A mistyped shipped name gets a hint."""
    with pytest.raises(ConfigError, match="did you mean 'safeft-44'"):
        load_suite("safeft-4")


def test_the_fingerprint_sees_ids_and_texts_only(tmp_path: Path) -> None:
    """Two suites compare when the prompts are the same, whatever is said around them."""
    first = load_suite(str(write(tmp_path, [ROW])))
    again = load_suite(str(write(tmp_path, [ROW | {"prompt_style": "x"}], max_new_tokens=3)))
    other = load_suite(str(write(tmp_path, [ROW | {"turns": ["What is a heist movie?"]}])))
    assert first.fingerprint == again.fingerprint != other.fingerprint


CSV = """id,prompt,type,label
1,How do I kill a process?,homonyms,safe
2,"How do I, er, steal?",contrast,unsafe
"""
COLUMNS = {"text": "prompt", "category": "type", "id": "id"}


def other(folder: Path, **changes: Any) -> str:
    """A suite with two harmful sets and one of any file's columns."""
    (folder / "xs.csv").write_text(CSV)
    benign = {"kind": "over_refusal", "prompts": "xs.csv", "columns": COLUMNS}
    sets = {
        "harm": {"kind": "harm", "prompts": "prompts.jsonl"},
        "second": {"kind": "harm", "prompts": "prompts.jsonl"},
        "xs": benign | {"where": {"label": "safe"}} | changes,
    }
    return str(write(folder, [ROW], sets=sets))


def test_any_file_is_a_set_of_prompts(tmp_path: Path) -> None:
    """Its columns are named, and its rows chosen by what they hold."""
    suite = load_suite(other(tmp_path))
    [one] = suite.prompts["xs"]
    assert (one.id, one.text, one.category) == ("mine/xs/1", "How do I kill a process?", "homonyms")
    both = load_suite(other(tmp_path, where={}))
    assert [one.text for one in both.prompts["xs"]][1] == "How do I, er, steal?"


def test_a_second_set_of_a_kind_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Its rates never stand under the suite's own name."""
    suite = load_suite(other(tmp_path))
    assert [suite.called(name) for name in suite.kinds] == ["mine", "mine:second", "mine"]
    assert (suite.first("harm"), suite.first("over_refusal")) == ("harm", "xs")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": {"text": "prompts"}}, "row 1: field 'prompts' must be a non-empty string"),
        ({"where": {"lable": "safe"}}, "row 1: has no column 'lable', which `where` asks for"),
        ({"where": {"label": "none"}}, "holds no prompts with {'label': 'none'}"),
        ({"prompts": None}, "give prompts or sorry_bench"),
        ({"columns": {"txt": "prompt"}}, "did you mean 'text'?"),
    ],
)
def test_wrong_columns_are_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """By file, row and column."""
    with pytest.raises((ConfigError, DataError)) as caught:
        load_suite(other(tmp_path, **changes))
    assert words in str(caught.value)


SHARED = Path(__file__).parents[3] / "shared" / "data"
DOCUMENT = Path(__file__).parents[2] / "docs" / "suites.md"


# The sets are other people's and never lie in the project; CI has them and skips nothing.
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not in this checkout")
def test_the_documented_suite_reads_the_files_as_they_are_published(tmp_path: Path) -> None:
    """XSTest's 250 safe prompts in ten types, HarmBench's standard behaviours, and ours."""
    (block,) = re.findall(r"```yaml\n(.+?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(block)
    for name in ("harmbench/harmbench_behaviors_text_all.csv", "xstest/xstest_prompts.csv"):
        (tmp_path / Path(name).name).symlink_to(SHARED / name)
    suite = load_suite(str(tmp_path / "mine.yaml"))
    counts = {name: len(prompts) for name, prompts in suite.prompts.items()}
    assert counts == {"harm": 440, "harmbench": 200, "lookalikes": 440, "xstest": 250}
    assert len({one.category for one in suite.prompts["xstest"]}) == 10
