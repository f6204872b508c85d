"""Calibration: a policy's thresholds moved to the benign answers of the very model it guards.

    answers ──read──► readings (scores, no text) ──calibrate──► policy and record ──verify──► drift

One shift on the logit scale moves every threshold of the stages that were read, so that categories
keep their relations, and the promise holds for the policy as a whole: of exchanges like those read
it withholds at most `alpha`. docs/calibration.md has the proof.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from safeft.errors import ConfigError, DataError, StoredError
from safeft.guarding.policy import Policy, Stage
from safeft.guarding.readings import (
    RELEASING,
    Reading,
    exercised,
    logit,
    statistic,
    withheld,
)
from safeft.runs import write_json, write_text
from safeft.stats.intervals import Interval
from safeft.stats.tolerance import (
    Distance,
    above,
    clopper_pearson,
    exceeds,
    kolmogorov_smirnov,
    order_statistic,
    quantiles,
)

SCHEMA = "safeft.calibration/1"
FAR = 1000.0
"""What a record holds for an infinite statistic; no logit of a float lies so far from 0."""


def _moved(threshold: float, shift: float) -> float:
    """Further up by a shift, and never less for a larger one; 0 and 1 stay what they are."""
    if threshold in (0, 1):
        return threshold
    # Steps that are monotone in floats, which e / (1 + e) would not be.
    return 1 / (1 + math.exp(min(-(logit(threshold) + shift), 700.0)))


def shifted(policy: Policy, shift: float) -> Policy:
    """The policy with the thresholds of its input and output moved by a shift in logits."""
    changed: dict[str, Stage] = {}
    for name, stage in exercised(policy).items():
        rules = {
            key: rule.model_copy(update={"threshold": _moved(rule.threshold, shift)})
            for key, rule in stage.categories.items()
            if rule.threshold is not None
        }
        own = {"threshold": _moved(stage.threshold, shift), "categories": stage.categories | rules}
        changed[name] = stage.model_copy(update=own)
    return policy.model_copy(update=changed)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibrated policy, what was promised of it, and what it was calibrated on.

    It holds no answer and no date. `shift` is in logits, `rank` the order statistic, `withheld` and
    `unread` count the n answers, `quantiles` are the statistic's under the new policy, and
    `origin` says whose answers to what.
    """

    policy: Policy
    alpha: float
    confidence: float
    n: int
    rank: int
    shift: float
    withheld: int
    unread: int
    quantiles: tuple[float, ...]
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> Interval:
        """The share of the calibration's own answers that the new policy withholds."""
        return clopper_pearson(self.withheld, self.n)


def calibrate(
    policy: Policy,
    readings: Sequence[Reading],
    alpha: float,
    confidence: float = 0.95,
    origin: Mapping[str, Any] | None = None,
) -> Calibration:
    """The policy that withholds at most `alpha` of such exchanges, with `confidence`.

    Raises ConfigError when it withholds nothing, DataError when there are too few readings or too
    many that no threshold releases.
    """
    refuse_idle(policy)
    rank = order_statistic(len(readings), alpha, confidence)
    needed = [statistic(policy, one) for one in readings]
    if math.isinf(sorted(needed)[rank - 1]):
        raise _hopeless(policy, readings, len(readings) - rank)
    shift = _released(policy, readings, above(needed, alpha, confidence), rank)
    found = shifted(policy, shift)
    return Calibration(
        policy=found,
        alpha=alpha,
        confidence=confidence,
        n=len(readings),
        rank=rank,
        shift=shift,
        withheld=_count(found, readings),
        unread=sum(bool(one.unread) for one in readings),
        quantiles=quantiles(_statistics(found, readings)),
        origin=dict(origin or {}),
    )


def refuse_idle(policy: Policy) -> None:
    """Raises ConfigError for a policy that withholds nothing at input or output."""
    for stage in exercised(policy).values():
        actions = {stage.action, *(stage.rule(category)[1] for category in stage.categories)}
        if not actions <= {*RELEASING}:
            return
    raise ConfigError(
        f"policy {policy.name}: withholds nothing at its input and output, so there is nothing to "
        "calibrate; give one of them an action other than allow and log"
    )


def _released(policy: Policy, readings: Sequence[Reading], line: float, rank: int) -> float:
    """The first shift from `line` on at which the policy itself, rounding and all, releases `rank`.

    The promise rests on this count alone.
    """
    shift, step = line, 2.0**-48
    while _count(shifted(policy, shift), readings) > len(readings) - rank:
        shift, step = line + step, 2 * step
    return shift


def _count(policy: Policy, readings: Sequence[Reading]) -> int:
    return sum(withheld(policy, one) for one in readings)


def _hopeless(policy: Policy, readings: Sequence[Reading], allowed: int) -> DataError:
    never = sum(statistic(policy, one) == math.inf for one in readings)
    unread = sum(bool(one.unread) for one in readings)
    if never <= allowed:
        return DataError(
            f"policy {policy.name}: its judges gave hardly any of the {len(readings)} answers a "
            f"score that it withholds for ({unread} unread); are the answers empty?"
        )
    return DataError(
        f"no threshold releases {never} of {len(readings)} benign answers ({unread} unread, the "
        f"others with a score of 1 or a threshold of 0), and {allowed} may be withheld; mend the "
        "judge or choose another, or ask for a higher rate"
    )


@dataclass(frozen=True, slots=True)
class Verification:
    """What new answers say of a calibration: `p` is small when more than `alpha` are withheld.

    `withheld` names the prompts whose answers are. `likeness` compares the statistic with the
    calibration's, and is a note: scores may move without a promise being broken.
    """

    rate: Interval
    alpha: float
    p: float
    likeness: Distance
    withheld: tuple[str, ...]
    unread: int

    @property
    def drifted(self) -> bool:
        """Whether the promise is refuted at 5 %."""
        return self.p <= 0.05


def verify(
    calibration: Calibration, readings: Sequence[Reading], policy: Policy | None = None
) -> Verification:
    """New answers under the calibrated policy, or under `policy` as it has become since.

    Raises DataError when there are none.
    """
    served = policy or calibration.policy
    stopped = tuple(one.id for one in readings if withheld(served, one))
    moved = _statistics(calibration.policy, readings)
    return Verification(
        rate=clopper_pearson(len(stopped), len(readings)),
        alpha=calibration.alpha,
        p=exceeds(len(stopped), len(readings), calibration.alpha),
        likeness=kolmogorov_smirnov(calibration.quantiles, calibration.n, moved),
        withheld=stopped,
        unread=sum(bool(one.unread) for one in readings),
    )


def _statistics(policy: Policy, readings: Sequence[Reading]) -> list[float]:
    return [min(FAR, max(-FAR, statistic(policy, one))) for one in readings]


def record_of(path: Path) -> Path:
    """Where the record of a calibrated policy lies: beside it."""
    return path.with_suffix(".json")


def write(calibration: Calibration, path: Path, header: Sequence[str] = ()) -> None:
    """The policy's YAML under a commented header, and its record beside it; each whole or not."""
    record = {"schema": SCHEMA, **_STORED.dump_python(calibration, mode="json")}
    write_json(record_of(path), record)
    # A request is read whole: its stage has no windows to write out.
    free = {"input": {"window", "first_window", "overlap", "regenerate"}}
    values = calibration.policy.model_dump(mode="json", exclude_none=True, exclude=free)
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
    write_text(path, "".join(f"# {' '.join(line.split())}\n" for line in header) + "\n" + text)


def read_calibration(path: Path) -> Calibration:
    """What `write` left beside a policy. Raises ConfigError without a record, StoredError."""
    record = record_of(path)
    if not record.is_file():
        raise ConfigError(
            f"{path}: no {record.name} beside it, so nobody knows what was promised; calibrate it "
            "with safeft guard calibrate"
        )
    try:
        return _STORED.validate_json(record.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StoredError(
            f"{record}: damaged ({where}: {first['msg']}); calibrate again"
        ) from error


_STORED = TypeAdapter(Calibration)


class _Dumper(yaml.SafeDumper):
    """Writes what YAML 1.1 takes for text and 1.2 for a number, such as `1e5`, in quotes."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if re.fullmatch(r"[A-Za-z][\w-]*", text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
