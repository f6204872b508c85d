"""Laws of `load_judge`: shipped names, entry points, and mistakes that name the way out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from processes import refused

from safeft.errors import ConfigError
from safeft.evaluation.ask import StreamingJudge
from safeft.judges import catalogue, judge_names, load_judge
from safeft.records import Label, Response, Verdict


class Blunt:
    """A judge that somebody else installed: everything is fulfilled."""

    name = "blunt"
    measures = "fulfilment"

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """Fulfilled throughout."""
        return [Verdict(one.prompt.id, Label.FULFILLED, self.name) for one in responses]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that a package offers entry points `name = value`."""

    def set_points(**points: str) -> None:
        found = EntryPoints(EntryPoint(k, v, catalogue.GROUP) for k, v in points.items())
        monkeypatch.setattr(catalogue, "entry_points", lambda group: found.select(group=group))

    return set_points


def test_shipped_judges_load_by_name() -> None:
    """The name in a suite's YAML is the key of a typed table."""
    assert load_judge("keyword").name.startswith("keyword@")
    assert load_judge("encoder").name.startswith("encoder@")


def test_a_typo_gets_a_hint() -> None:
    """The nearest name is offered, or else all of them."""
    with pytest.raises(ConfigError, match="did you mean 'keyword'"):
        load_judge("keywrod")
    with pytest.raises(
        ConfigError, match="known: encoder, encoder-bf16, harmbench, keyword, llama-guard-3, llama"
    ):
        load_judge("gpt")


def test_an_entry_point_is_a_judge(install: Any) -> None:
    """Users add a judge without forking."""
    install(blunt=f"{__name__}:Blunt")
    assert load_judge("blunt").measures == "fulfilment"
    assert {"blunt", "encoder", "keyword", "sorry-bench"} <= set(judge_names())


def test_an_installed_judge_cannot_replace_a_shipped_one(install: Any) -> None:
    """`keyword` means the same on every machine."""
    install(keyword=f"{__name__}:Blunt")
    assert load_judge("keyword").name.startswith("keyword@")


@pytest.mark.parametrize("value", ["no_such_module:Judge", f"{__name__}:NoSuchJudge"])
def test_a_broken_entry_point_is_named(install: Any, value: str) -> None:
    """The message says which judge and where it was meant to come from."""
    install(other=value)
    with pytest.raises(ConfigError, match=r"judge 'other' \(.+\): "):
        load_judge("other")


OWN: dict[str, Any] = {
    "name": "mine",
    "model": "testbed:aligned",
    "measures": "fulfilment",
    "template": {"text": "Q {question} A {answer} met?"},
    "read": {"pattern": "(?P<verdict>yes|no)", "labels": {"yes": "fulfilled", "no": "refused"}},
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes the YAML of a judge of one's own."""

    def write(**values: Any) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(json.dumps(OWN | values))
        return path

    return write


def test_the_engine_is_no_part_of_a_judges_name(written: Callable[..., Path]) -> None:
    """The same weights under vLLM are the same judge, whatever the engine is told."""
    name = load_judge(str(written())).name
    served = written(engine="vllm", vllm={"max_model_len": 512})
    assert load_judge(str(served)).name == name


def test_arguments_of_vllm_need_vllm(written: Callable[..., Path]) -> None:
    """They would be ignored."""
    with pytest.raises(ConfigError, match="vllm: its arguments need `engine: vllm`"):
        load_judge(str(written(vllm={"max_model_len": 512})))


# The message of an environment without vLLM, such as `make test`'s; `make test-engines` has it.
@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_an_engine_that_is_not_installed_is_told_first(written: Callable[..., Path]) -> None:
    """Before anything is read or asked: exit 2, and what to install."""
    calibrate = ("judge", "calibrate", written(engine="vllm"), "--gold", "nowhere.jsonl")
    assert "vllm is not installed; pip install 'safeft[vllm]'" in refused(*calibrate)


def test_an_endpoints_judge_streams_and_no_other_does(written: Callable[..., Path]) -> None:
    """What an endpoint answered is paid for; scores of other judges may depend on their batch."""
    url = "http://localhost:1/v1"
    kinds = [isinstance(load_judge(name), StreamingJudge) for name in ("encoder", "keyword")]
    assert kinds == [False, False]
    assert not isinstance(load_judge(str(written())), StreamingJudge)
    assert isinstance(load_judge(str(written(engine=url))), StreamingJudge)
