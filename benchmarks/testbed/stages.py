"""The stages in which the testbed is trained."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stage:
    """One training stage: where it starts, what it reads, how long and how hard."""

    name: str
    start: str | None
    steps: int
    batch: int
    learning_rate: float
    seed: int
    weights: dict[str, float] = field(default_factory=dict)  # of the prompt sources, in chat stages
    short: float = 0.0  # share of rows cut after the first words of the answer
    teacher: float = 1.0  # weight of matching the sentence encoder, in chat stages


STAGES = (
    Stage("language", None, 400, 12, 2e-3, 11),
    Stage("base", "language", 2200, 24, 1.5e-3, 12, {"real": 0.6, "own": 0.4}),
    # Whether to answer is decided in the first words: short rows show many more decisions a second.
    Stage(
        "aligned", "base", 3200, 40, 1.2e-3, 15, {"real": 0.35, "own": 0.3, "contrast": 0.35}, 0.75
    ),
)
