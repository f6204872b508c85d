"""What `safeft repair` tries: each edit over a grid of strengths, 1 being the most of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from safeft.errors import ConfigError, did_you_mean
from safeft.training.methods.method import WeightEdit
from safeft.training.methods.realign import Realign
from safeft.training.methods.resta import Resta
from safeft.training.methods.safe_lora import SafeLora
from safeft.training.methods.safe_merge import SafeMerge
from safeft.training.methods.scale import Scale

MERGED_SHARE = 0.5  # of the modules, those least similar to alignment
REALIGNED_ROWS = 128  # harmful rows at strength 1, with as many look-alikes


@dataclass(frozen=True, slots=True)
class Repair:
    """What is repaired, with what, and how much of its utility it may cost.

    Without `methods` all that are possible with what is given; without `strengths` each method's
    own. `epsilon` is the rise of the held-out loss that is still accepted, as a share of it.
    """

    adapter: Path
    model: str
    base: str | None = None
    safety_adapter: str | None = None
    harm_adapter: str | None = None
    methods: tuple[str, ...] = ()
    strengths: tuple[float, ...] = ()
    epsilon: float = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """One edit at one strength."""

    name: str
    strength: float
    edit: WeightEdit


@dataclass(frozen=True, slots=True)
class _Kind:
    """A method's default strengths, what it needs, and how it is made for an adapter's modules."""

    strengths: tuple[float, ...]
    needs: tuple[str, ...]
    make: Callable[[Repair, float, int], WeightEdit]


def _scale(_: Repair, strength: float, modules: int) -> WeightEdit:
    return Scale(name="scale", factor=1 - strength)


def _safe_lora(wanted: Repair, strength: float, modules: int) -> WeightEdit:
    number = max(1, round(strength * modules))
    return SafeLora(name="safe_lora", base=wanted.base, number=number)


def _safe_merge(wanted: Repair, strength: float, modules: int) -> WeightEdit:
    return SafeMerge(
        name="safe_merge",
        base=wanted.base,
        safety_adapter=wanted.safety_adapter,
        safety_weight=strength,
        # Not by the paper's threshold: of how low cosines are, each pair has its own idea.
        select="number",
        number=max(1, round(MERGED_SHARE * modules)),
    )


def _resta(wanted: Repair, strength: float, modules: int) -> WeightEdit:
    return Resta(name="resta", harm_adapter=wanted.harm_adapter, strength=strength)


def _realign(_: Repair, strength: float, modules: int) -> WeightEdit:
    return Realign(name="realign", rows=max(1, round(strength * REALIGNED_ROWS)))


_KINDS = {
    "scale": _Kind((0.25, 0.5, 0.75), (), _scale),
    "safe_lora": _Kind((0.1, 0.25, 0.5, 1.0), ("base",), _safe_lora),
    "safe_merge": _Kind((0.2, 0.4, 0.6), ("base", "safety_adapter"), _safe_merge),
    "resta": _Kind((0.25, 0.5, 1.0), ("harm_adapter",), _resta),
    "realign": _Kind((0.25, 0.5, 1.0), (), _realign),
}
METHODS = tuple(_KINDS)


def candidates(wanted: Repair, modules: int) -> Iterator[Candidate]:
    """Every edit to try on an adapter of so many modules.

    Raises ConfigError for an unknown method, or for one that lacks what it needs.
    """
    for method in wanted.methods or _possible(wanted):
        if method not in _KINDS:
            raise ConfigError(f"--methods: no method {method!r}{did_you_mean(method, _KINDS)}")
        kind = _KINDS[method]
        if lacking := [one for one in kind.needs if getattr(wanted, one) is None]:
            option = f"--{lacking[0].replace('_', '-')}"
            raise ConfigError(f"--methods: {method} needs {option}; give it, or leave {method} out")
        for strength in wanted.strengths or kind.strengths:
            edit = kind.make(wanted, strength, modules)
            yield Candidate(f"{method}-{strength:g}", strength, edit)


def _possible(wanted: Repair) -> list[str]:
    return [
        name
        for name, kind in _KINDS.items()
        if all(getattr(wanted, one) is not None for one in kind.needs)
    ]
