"""More workers than cells: one cell's decodings are answered and judged side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safeft.comparison.cells import Ask, Cell, Plan
from safeft.comparison.rules import engine_of
from safeft.generation.schema import VLLM

Share = tuple[Cell, Ask]


def shares(planned: Plan, cells: Sequence[Cell]) -> list[Share]:
    """What each worker asks; empty unless the comparison's `workers` are twice the cells or more.

    Only of models that each worker loads for itself: each of them takes its memory, so that only
    who names a number of workers gets more of them than cells.
    """
    matrix = planned.matrix
    own = [
        cell
        for cell in cells
        # What is merged and then quantised lies in a folder of the cell, which one worker writes.
        if not (cell.answers or matrix.remote or matrix.quantization or cell.setting)
        and engine_of(planned, cell) != VLLM
    ]
    spare = (matrix.workers or 1) // max(1, len(cells))
    if spare < 2:
        return []
    return [
        (cell, replace(ask, decodings=ask.decodings[start::spare]))
        for cell in own
        for ask in planned.asks(cell)
        for start in range(min(spare, len(ask.decodings)))
    ]
