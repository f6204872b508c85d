"""Laws of loading: what cannot work is refused before anything is asked, in words that help."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from guarding.reading import REFUSAL, Reading, policy, said
from guarding.spelling import needs_encoder
from safeft.errors import ConfigError
from safeft.guarding import Guarded, guard
from safeft.guarding import catalogue as judges
from safeft.guarding.loading import checker, named
from safeft.records import Decoding, Prompt, Response


class Known(Reading):
    """A judge with two categories."""

    def __init__(self, *_: object) -> None:
        super().__init__(lambda text: {"fraud": 0.1, "weapons": 0.9}, name="known@1")
        self.categories = ("fraud", "weapons")


class Second(Reading):
    """What an installed package offers."""

    def __init__(self) -> None:
        super().__init__(lambda text: float("neighbours" in text), name="second@1")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what `encoder-guard` stands for in these tests."""
    monkeypatch.setattr("safeft.guarding.encoder.EncoderGuard", Known)


def written(tmp_path: Path, **stages: Any) -> Path:
    """A policy's YAML."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "refusal": REFUSAL, "decode": False, **stages}))
    return path


def test_a_policy_becomes_a_checker(tmp_path: Path) -> None:
    """From a file or a Policy: the judges of its stages decide by its rules."""
    stages = {"output": {"categories": {"fraud": {"threshold": 0.05, "action": "log"}}}}
    path = written(tmp_path, **stages)
    for one in (path, str(path), checker(path).policy):
        made = checker(one)
        (found,) = made.decide("output", said("a"))
        assert (found.judge, found.category, found.action) == ("known@1", "weapons", "block")


def test_stages_that_name_the_same_judge_share_it(tmp_path: Path) -> None:
    """Its weights are in memory once."""
    made = checker(written(tmp_path, input={}, output={}, reasoning={"threshold": 0.9}))
    assert len({id(one) for one in made.judges.values()}) == 1
    assert named(made) == [("encoder-guard", made.judges["input"])]


def test_who_a_stage_escalates_to_is_one_of_the_policys_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name that the policy calls it."""
    point = EntryPoint("second", f"{__name__}:Second", judges.GROUP)
    monkeypatch.setattr(judges, "entry_points", lambda group: [point])
    made = checker(written(tmp_path, output={"escalate": {"judge": "second"}}))
    assert {name: one.name for name, one in made.seconds.items()} == {"output": "second@1"}
    found = [(called, one.name) for called, one in named(made)]
    assert found == [("encoder-guard", "known@1"), ("second", "second@1")]


@needs_encoder
@pytest.mark.parametrize("decode", [True, False])
def test_stages_with_other_examples_have_other_judges(tmp_path: Path, *, decode: bool) -> None:
    """Each of which is named, so that none guards unseen; the same examples make the same judge."""
    about = [{"fish": ["A carp."]}, {"birds": ["An owl."]}, {"fish": ["A carp."]}]
    stages = {
        name: {"judge": "examples", "examples": one}
        for name, one in zip(("input", "output", "reasoning"), about, strict=True)
    }
    made = checker(written(tmp_path, decode=decode, **stages))
    assert made.judges["input"] is made.judges["reasoning"]
    assert named(made) == [("examples", made.judges[one]) for one in ("input", "output")]
    assert len({one.name for _, one in named(made)}) == 2


def test_what_is_encoded_is_read_where_the_policy_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every judge, in one object for the stages that share it; and by none where it does not."""
    monkeypatch.setattr("safeft.guarding.encoder.EncoderGuard", Second)
    coded = base64.b64encode(b"all the secrets of our neighbours").decode()
    for decode in (True, False):
        made = checker(written(tmp_path, input={}, output={}, decode=decode))
        texts = said(f"Read this: {coded}", "nothing")
        assert [one.unsafe for one in made.decide("output", texts)] == [decode, False]
        assert made.judges["input"] is made.judges["output"]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ({"output": {"categories": {"weapon": {}}}}, "output.*'weapon'.*did you mean 'weapons'"),
        ({"input": {"categories": {"hate": {}}}}, "input.*'hate'"),
        ({"output": {"judge": "encoder-gard"}}, "'encoder-gard'.*did you mean 'encoder-guard'"),
        ({"output": {"treshold": 0.4}}, "treshold.*did you mean 'threshold'"),
        ({}, "at least one stage"),
    ],
)
def test_what_cannot_work_is_refused_at_load(
    tmp_path: Path, stages: dict[str, Any], words: str
) -> None:
    """Naming the file, the place, and the nearest name that there is."""
    path = written(tmp_path, **stages)
    with pytest.raises(ConfigError, match=words) as caught:
        checker(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_policy_that_is_no_file_is_named_by_its_name() -> None:
    """As it would be in a report."""
    with pytest.raises(ConfigError, match=r"policy 'test': output.*'hate'"):
        checker(policy(output={"categories": {"hate": {}}}))


def test_an_input_stage_needs_a_judge_that_reads_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reads answers only would leave every request unread."""
    monkeypatch.setattr(Known, "reads", frozenset(["exchange"]), raising=False)
    assert checker(written(tmp_path, output={})).judges
    with pytest.raises(ConfigError, match=r"input.*reads answers only"):
        checker(written(tmp_path, input={}))


class Answering:
    """A generator that is of no family that guards know."""

    name, engine = "mine", "own"

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Response]:
        return [Response(one, "some words") for one in prompts]


def test_guard_takes_any_generator(tmp_path: Path) -> None:
    """And tells who watches."""
    told: list[str] = []
    path = written(tmp_path, output={})
    guarded = guard(Answering(), path, watch=lambda found, _: told.append(found.category))
    assert isinstance(guarded, Guarded)
    assert guarded([Prompt.of("a")], Decoding())[0].text == REFUSAL
    assert told == ["weapons"]


@pytest.mark.parametrize("model", ["gpt2", None, 3, len])
def test_what_is_no_model_is_refused(model: Any) -> None:
    """A name is not loaded for the user; that is another function's work."""
    with pytest.raises(ConfigError, match="is no generator, no Transformers model and no vllm"):
        guard(model, policy())


def test_a_tokenizer_is_for_a_transformers_model_alone() -> None:
    """Anywhere else it would be ignored."""
    with pytest.raises(ConfigError, match="`tokenizer` belongs to a Transformers model"):
        guard(Answering(), policy(), tokenizer=object())
