"""What an interval looks like when it is not a recipe's rate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its interval; n counts the units that `method` names."""

    estimate: float
    low: float
    high: float
    n: int
    method: str
