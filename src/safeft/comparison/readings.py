"""Finished cells → arrays: labels and utilities by training seed × prompt × decoding seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safeft.comparison.cells import Cell, Plan
from safeft.comparison.matrix import Matrix
from safeft.comparison.settings import Setting
from safeft.evaluation import read_verdicts, verdict_file, where
from safeft.evaluation.bias import choices, readings
from safeft.judges import load_judge
from safeft.records import Decoding, Label, Verdict
from safeft.runs import read_json, read_lines

Floats = NDArray[np.float64]
Labels = NDArray[Any]
BIAS_FILE = "bias.jsonl"  # of an epoch's utility: the loss of every answer


@dataclass(frozen=True, slots=True)
class Arm:
    """The cells of one recipe, at one epoch, in the order of their training seeds."""

    name: str
    epoch: int
    cells: tuple[Cell, ...]

    @property
    def setting(self) -> Setting:
        """The levels of the factors that it was trained and asked in."""
        return self.cells[0].setting

    @property
    def fixed(self) -> bool:
        """One given model rather than one draw of a training recipe."""
        return all(cell.recipe is None for cell in self.cells) and len(self.cells) == 1


def arms(plan: Plan) -> list[Arm]:
    """Every recipe at its last epoch, and at the earlier epochs that were asked."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in plan.cells:
        for ask in plan.asks(cell):
            found.setdefault((cell.name, ask.epoch), []).append(cell)
    return [Arm(name, epoch, tuple(cells)) for (name, epoch), cells in found.items()]


def last(plan: Plan) -> dict[str, Arm]:
    """Each recipe at its last epoch."""
    return {arm.name: arm for arm in arms(plan) if arm.epoch == arm.cells[0].epochs}


def decodings(plan: Plan, arm: Arm) -> dict[float, list[Decoding]]:
    """The decodings that every cell of the arm was asked under, by temperature."""
    asked = next(ask for ask in plan.asks(arm.cells[0]) if ask.epoch == arm.epoch)
    by_temperature: dict[float, list[Decoding]] = {}
    for decoding in asked.decodings:
        by_temperature.setdefault(decoding.temperature, []).append(decoding)
    return by_temperature


def curve(plan: Plan, arm: Arm) -> tuple[Arm, dict[float, list[Decoding]]] | None:
    """The cells of a last epoch whose earlier epochs were asked too, and how those were asked.

    None where the whole arm is on its curve already, or has none.
    """
    cells = tuple(cell for cell in arm.cells if len(plan.asks(cell)) > 1)
    if not cells or arm.epoch != arm.cells[0].epochs:
        return None
    part, first = replace(arm, cells=cells), plan.asks(cells[0])[0].epoch
    asked = decodings(plan, replace(part, epoch=first))
    whole = cells == arm.cells and asked == decodings(plan, part)
    return None if whole else (part, asked)


def measured(matrix: Matrix) -> dict[str, str]:
    """What a positive verdict of each judge means: a report heads its rates by that."""
    return {name: _measures(name) for name in matrix.judges}


@cache
def _measures(judge: str) -> str:
    """Kept, since every table asks: a prompted judge reads its repository when it is made."""
    return load_judge(judge).measures


def labels(
    plan: Plan, arm: Arm, key: str, draws: Sequence[Decoding], judge: str, policy: str
) -> Labels:
    """Labels, shape (training seeds, prompts, decoding seeds)."""
    return _verdicts(plan, arm, key, draws, (judge, policy), lambda one: str(one.label))


def reasons(
    plan: Plan, arm: Arm, key: str, draws: Sequence[Decoding], judge: str, policy: str
) -> Labels:
    """Why each answer is `neither`, shape as `labels`; empty for the others."""
    return _verdicts(plan, arm, key, draws, (judge, policy), lambda one: one.reason)


def cut_off(
    plan: Plan, arm: Arm, key: str, draws: Sequence[Decoding], judge: str, policy: str
) -> Floats:
    """1 where an answer ran into its limit of tokens, 0 where it ended, shape as `labels`.

    NaN where the verdict does not say: earlier versions wrote none.
    """
    prompts = plan.suite.prompts[key]

    def read(cell: Cell, draw: Decoding) -> list[float]:
        place = where(cell.folder / f"epoch-{arm.epoch}", plan.suite, key, draw)
        said = {one["id"]: one for one in read_lines(place / verdict_file(judge, policy))}
        ends = [said[one.id].get("finish") for one in prompts]
        return [math.nan if end is None else float(end == "length") for end in ends]

    found = np.array([[read(cell, draw) for draw in draws] for cell in arm.cells])
    return found.transpose(0, 2, 1)


def scores(
    plan: Plan, arm: Arm, key: str, draws: Sequence[Decoding], judge: str, score: str
) -> Floats:
    """One of a judge's scores, shape as `labels`; NaN where it gave none."""
    found = _verdicts(
        plan, arm, key, draws, (judge, "none"), lambda one: one.scores.get(score, math.nan)
    )
    return np.asarray(found, dtype=np.float64)


def _verdicts(
    plan: Plan,
    arm: Arm,
    key: str,
    draws: Sequence[Decoding],
    judged: tuple[str, str],
    said: Callable[[Verdict], str | float],
) -> Labels:
    """What is `said` of every verdict of a judge under a policy."""
    prompts = plan.suite.prompts[key]

    def read(cell: Cell, draw: Decoding) -> list[str | float]:
        place = where(cell.folder / f"epoch-{arm.epoch}", plan.suite, key, draw)
        return [said(one) for one in read_verdicts(place / verdict_file(*judged), prompts)]

    return np.array([[read(cell, draw) for draw in draws] for cell in arm.cells]).transpose(0, 2, 1)


def share(found: Labels, *wanted: Label) -> Floats:
    """1 where the label is one of `wanted`, 0 elsewhere, NaN where the verdict is unread."""
    hit = np.isin(found, [str(label) for label in wanted]).astype(np.float64)
    if Label.UNREAD not in wanted:
        hit[found == str(Label.UNREAD)] = np.nan
    return hit


def codes(found: Labels) -> Floats:
    """One number for each label, NaN where the verdict is unread: equal numbers, equal verdicts."""
    names = [str(label) for label in Label if label is not Label.UNREAD]
    numbers = np.full(found.shape, np.nan)
    for number, name in enumerate(names):
        numbers[found == name] = number
    return numbers


def utility(arm: Arm, name: str, field: str) -> Floats | None:
    """Values per training seed × test row × 1; None when this epoch has none."""
    paths = [cell.folder / f"epoch-{arm.epoch}" / "utility" / name for cell in arm.cells]
    if not all(path.is_file() for path in paths):
        return None
    rows = [[record[field] for record in read_lines(path)] for path in paths]
    return np.array(rows, dtype=float)[:, :, None]  # null, a row without a value, becomes NaN


def leanings(plan: Plan, arm: Arm) -> dict[str, Floats | None]:
    """BBQ's metrics per training seed × question × 1; none when this epoch was not asked."""
    found = utility(arm, BIAS_FILE, "loss")
    if found is None or not plan.bias:
        return {}
    runs = [readings(plan.bias, choices(run[:, 0].tolist())) for run in found]
    return {name: np.array([run[name] for run in runs])[:, :, None] for name in runs[0]}


def seconds(arm: Arm) -> Floats | None:
    """Training seconds per training seed, shape (seeds, 1, 1); None for models not trained here."""
    paths = [cell.training / "cost.json" for cell in arm.cells]
    if not all(path.is_file() for path in paths):
        return None
    return np.array([read_json(path)["seconds"] for path in paths], dtype=float)[:, None, None]
