"""Judges by name: the shipped ones, then entry points of the group `safeft.judges`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from safeft.errors import ConfigError, did_you_mean
from safeft.judges.encoder import EncoderJudge
from safeft.judges.judge import Judge
from safeft.judges.keyword import KeywordJudge

GROUP = "safeft.judges"
SHIPPED: dict[str, Callable[[], Judge]] = {"encoder": EncoderJudge, "keyword": KeywordJudge}


def load_judge(name: str) -> Judge:
    """The judge called `name`. An entry point is called without arguments and returns a judge.

    Raises ConfigError for an unknown name, or when an installed judge cannot be loaded.
    """
    # Shipped names win: installing a package must not change what `encoder` means.
    if name in SHIPPED:
        return SHIPPED[name]()
    installed = _installed()
    if name not in installed:
        hint = did_you_mean(name, [*SHIPPED, *installed])
        raise ConfigError(f"judge: unknown name {name!r}{hint}")
    return _build(installed[name])


def judge_names() -> list[str]:
    """Every name that `load_judge` knows, sorted."""
    return sorted({*SHIPPED, *_installed()})


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _build(point: EntryPoint) -> Judge:
    try:
        judge: Judge = point.load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"judge {point.name!r} ({point.value}): {error}") from error
    return judge
