"""A world of two recipes by three seeds: what it answers, and one number of it by its keys."""

from __future__ import annotations

from safeft.comparison.cells import Plan
from safeft.comparison.estimating import estimates
from safeft.comparison.learning import learned
from safeft.comparison.spread import stability
from safeft.records import Decoding, Estimate


def said(name: str, seed: int, epoch: int, key: str, draw: Decoding, judge: str) -> str:
    """What this world answers: the baseline breaks, and its judges read it differently."""
    if name == "untuned":
        return "rrrrrr"
    if key == "harmless":
        return "nnnfff"
    if judge == "keyword":
        return "ffffrr"
    if name == "calm":
        return "frrrrr"
    if epoch == 1:
        return "rrrrrr"
    if draw.temperature:
        return ("fffrrr", "fffffr", "frrrrn")[(seed + draw.seed) % 3]
    return ("ffrrrr", "fnrrrr", "fffrru")[seed]


def one(planned: Plan, recipe: str, metric: str, **changes: object) -> Estimate:
    """The one number of these keys: greedy, last epoch, overall, by the encoder, by default."""
    keys = {"judge": "encoder", "epoch": 2, "temperature": 0.0, "group": "overall"}
    keys |= {"suite": "world"} | changes
    rows = (*estimates(planned), *stability(planned), *learned(planned))
    (found,) = [
        entry.value
        for entry in rows
        if (entry.row.recipe, entry.row.metric) == (recipe, metric)
        and all(getattr(entry.row, key) == value for key, value in keys.items())
    ]
    return found
