"""Cells: one trained (or given) model each, under `cells/<hash>/`, and what is asked of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safeft.comparison.matrix import UNTUNED, Matrix, recipes
from safeft.data import Example, kept, load
from safeft.data.formats import fingerprint as data_fingerprint
from safeft.data.formats import listed
from safeft.data.shipped import shipped
from safeft.data.splits import split
from safeft.errors import ConfigError, DataError
from safeft.evaluation import Suite, load_suite
from safeft.records import Decoding
from safeft.runs import fingerprint
from safeft.training import Recipe, folder_identity, model_identity

logger = logging.getLogger("safeft")


@dataclass(frozen=True, slots=True)
class Cell:
    """A recipe and a training seed, or a model that is not trained here.

    `answers` is the file of one that is not even asked here.
    """

    name: str
    seed: int
    recipe: Recipe | None
    adapter: str | None
    folder: Path
    answers: str | None = None

    @property
    def epochs(self) -> int:
        """How many epochs are trained; 0 for a model that is only evaluated."""
        return self.recipe.epochs if self.recipe else 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of one epoch of a cell, behind no guard and behind each policy."""

    epoch: int
    decodings: tuple[Decoding, ...]
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A comparison with its data, suite and cells resolved."""

    matrix: Matrix
    suite: Suite
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    cells: tuple[Cell, ...]
    store: Path
    source: str
    trust_remote_code: bool = False

    @property
    def test_name(self) -> str:
        """What the utility figures were measured on."""
        return self.matrix.test_data or "held-out rows"

    def asks(self, cell: Cell) -> list[Ask]:
        """The last epoch under every decoding and policy; earlier ones greedily, for the curve."""
        every = tuple(self.matrix.decodings.all(self.suite.max_new_tokens))
        last = Ask(cell.epochs, every, tuple(self.matrix.policies))
        if cell.seed not in self.matrix.curve_seeds:
            return [last]
        greedy = tuple(one for one in every if one.temperature == 0) or every[:1]
        return [*(Ask(epoch, greedy, ()) for epoch in range(1, cell.epochs)), last]


def plan(matrix: Matrix, output: Path, *, trust_remote_code: bool = False) -> Plan:
    """Resolve everything before anything is trained, so that mistakes cost seconds.

    Raises ConfigError, DataError or ModelError.
    """
    overrides = [f"per_category={matrix.per_category}"] if matrix.per_category else []
    suite = load_suite(matrix.suite, [*matrix.suite_set, *overrides])
    train, test, source = _data(matrix)
    rows = [source, len(train), data_fingerprint(test)]
    # A set that fits two formats says different things in each.
    rows += [matrix.format] if matrix.format else []
    context = [identity_of(matrix), *rows, suite.fingerprint, suite.max_new_tokens]
    return Plan(
        matrix=matrix,
        suite=suite,
        train=train,
        test=test,
        cells=_cells(matrix, output, context),
        store=output / "written",
        source=source,
        trust_remote_code=trust_remote_code,
    )


def identity_of(matrix: Matrix) -> str:
    """What the model is: its weights, or its name at the endpoint that knows no more of it."""
    if not matrix.asked:
        return f"{matrix.model}, asked elsewhere"
    if matrix.remote:
        return f"{matrix.model} at {matrix.engine}"
    return model_identity(matrix.model)


def _cells(matrix: Matrix, output: Path, context: Sequence[object]) -> tuple[Cell, ...]:
    # Judges and policies are no part of a cell: they must not cost a training (see rules.py).
    def folder(*parts: object) -> Path:
        return output / "cells" / fingerprint([*context, *parts])[:16]

    trained = [
        Cell(name, seed, recipe, None, folder(recipe.model_dump(mode="json"), seed))
        for seed in matrix.training_seeds
        for name, recipe in recipes(matrix).items()
    ]
    given = [
        Cell(name, seed, None, path, folder(folder_identity(Path(path)), seed))
        for name, paths in matrix.adapters.items()
        for seed, path in enumerate(paths)
    ]
    told = [
        Cell(name, seed, None, None, folder(_digest(name, path), seed), path)
        for name, paths in matrix.responses.items()
        for seed, path in enumerate(paths)
    ]
    untuned = [Cell(UNTUNED, 0, None, None, folder(UNTUNED))] if matrix.untuned else []
    return (*untuned, *trained, *given, *told)


def _digest(name: str, path: str) -> str:
    """What a file of answers holds; DataError when it is not there."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"responses.{name}: {path}: cannot be read ({error.strerror})") from error


def _data(matrix: Matrix) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """Training rows, test rows, and the fingerprint of the training data.

    Without `test_data`, `test_rows` of the data are held out, by a split that no seed changes.
    """
    if matrix.data is None:
        return (), _test(matrix), "none"
    if matrix.test_data or not matrix.test_rows:
        train, source = _rows(matrix, matrix.data, matrix.rows, matrix.format)
        return train, _test(matrix), source
    limit = matrix.rows and matrix.rows + matrix.test_rows
    everything, source = _rows(matrix, matrix.data, limit, matrix.format)
    if matrix.test_rows >= len(everything):
        raise ConfigError(
            f"test_rows: {matrix.test_rows} of {len(everything)} rows of {matrix.data} leave none "
            "to train on; lower it, or name test_data"
        )
    parts = split(everything, matrix.test_rows / len(everything))
    return parts.train, parts.test, source


def _test(matrix: Matrix) -> tuple[Example, ...]:
    if matrix.test_data is None:
        return ()
    return _rows(matrix, matrix.test_data, matrix.test_rows, matrix.test_format)[0]


def _rows(
    matrix: Matrix, name: str, limit: int | None, format: str | None
) -> tuple[tuple[Example, ...], str]:
    """The rows, and the fingerprint of what they were read from."""
    source = load(shipped(name), limit=limit, format=format)
    rows, broken = kept(source, skip_broken=matrix.skip_broken)
    if broken:
        logger.warning("%s: %d broken rows left out:\n%s", name, len(broken), listed(broken))
    return rows, source.fingerprint
