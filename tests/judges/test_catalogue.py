"""Laws of `load_judge`: shipped names, entry points, and mistakes that name the way out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from safeft.errors import ConfigError
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
