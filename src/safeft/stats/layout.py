"""From an array of verdicts to what the estimators need.

`y_SPK` holds training seeds × prompts × decoding seeds; NaN is a cell that nobody could read. An
unread cell leaves the numerator and the denominator: it never counts as 0. Decodes are averaged
within seed × prompt, every training run weighs the same, and so does every prompt inside a run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Summary:
    """One arm, decodes averaged, in the pieces that a crossed variance is made of.

    `runs` (S) are the training runs' means; `influence` (P) is each prompt's share of estimate -
    expectation, 0 where it was never read; `read` (P) says where it was. `seed_term` is the
    variance of the estimate between runs, `overlap` the seed × prompt interaction, which the seed
    term and the prompt term both contain.
    """

    estimate: float
    runs: Floats
    influence: Floats
    read: Bools
    seed_term: float
    overlap: float

    @property
    def seeds(self) -> int:
        """Training runs with at least one reading."""
        return len(self.runs)

    @property
    def prompts(self) -> int:
        """Prompts with at least one reading."""
        return int(self.read.sum())


def cube(y_SPK: npt.ArrayLike) -> Floats:
    """y_SPK as floats, without the training seeds that nobody read.

    Raises ValueError for another shape or an infinite value, DataError when nothing was read.
    """
    values = np.asarray(y_SPK, dtype=np.float64)
    if values.ndim != 3:
        raise ValueError(
            "expected training seeds × prompts × decoding seeds (three axes), "
            f"got shape {values.shape}"
        )
    if np.isinf(values).any():
        raise ValueError("a value is infinite; mark what could not be read as NaN")
    read_S = ~np.isnan(values).all(axis=(1, 2))
    if not read_S.any():
        raise DataError("nothing to estimate: no cell was read; check the judge's verdict file")
    return values[read_S]


def mean_read(values: Floats, axis: int) -> Floats:
    """Mean over the cells that were read; NaN where none was."""
    read = ~np.isnan(values)
    total = np.where(read, values, 0.0).sum(axis=axis)
    count = read.sum(axis=axis)
    mean: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def run_means(values_SPK: Floats) -> Floats:
    """Means of the training seeds, decodes averaged; NaN where a seed was not read.

    One run is one training seed: what a recipe's smallest and largest run, its dots and its seed
    term are all made of.
    """
    return mean_read(mean_read(values_SPK, axis=2), axis=1)


def run_sd(run_S: Floats) -> float:
    """Standard deviation between two or more run means.

    0 where they differ by no more than the order of a sum: decodes are averaged first, so runs of
    equal counts need not be equal to the last bit.
    """
    dust = 1e-12 * max(1.0, float(np.abs(run_S).max()))
    return float(run_S.std(ddof=1)) if np.ptp(run_S) > dust else 0.0


def summarise(values_SPK: Floats) -> Summary:
    """The pieces of one arm, from an array that went through `cube`."""
    mean_SP = mean_read(values_SPK, axis=2)
    run_S = run_means(values_SPK)
    read_SP = ~np.isnan(mean_SP)
    weight_SP = read_SP / (read_SP.sum(axis=1, keepdims=True) * len(run_S))
    centred_SP = np.where(read_SP, mean_SP - run_S[:, None], 0.0)
    seeds = len(run_S)
    return Summary(
        estimate=float(run_S.mean()),
        runs=run_S,
        influence=(weight_SP * centred_SP).sum(axis=0),
        read=np.asarray(read_SP.any(axis=0)),
        seed_term=float(run_S.var(ddof=1)) / seeds if seeds > 1 else 0.0,
        overlap=_interaction(centred_SP, read_SP) * float((weight_SP**2).sum()),
    )


def _interaction(centred_SP: Floats, read_SP: Bools) -> float:
    """Mean square left after seed and prompt effects, by least squares; 0 where none is left."""
    freedom = int(read_SP.sum()) - len(read_SP) - int(read_SP.any(axis=0).sum()) + 1
    if freedom < 1 or len(read_SP) == 1:
        return 0.0
    if read_SP.all():
        residual_SP = centred_SP - centred_SP.mean(axis=0)
    else:
        residual_SP = _residual_of_additive_fit(centred_SP, read_SP)
    return float((residual_SP**2).sum()) / freedom


def _residual_of_additive_fit(centred_SP: Floats, read_SP: Bools) -> Floats:
    """Residuals of value = seed + prompt over the read cells (Searle 1971, ch. 7).

    Prompt effects are eliminated first: what remains is one small equation per seed.
    """
    count_P = np.maximum(read_SP.sum(axis=0), 1)
    prompt_P = centred_SP.sum(axis=0) / count_P
    within_SP = np.where(read_SP, centred_SP - prompt_P, 0.0)
    normal_SS = np.diag(read_SP.sum(axis=1)) - (read_SP / count_P) @ read_SP.T
    seed_S = np.linalg.lstsq(normal_SS, within_SP.sum(axis=1), rcond=None)[0]
    shifted_SP = np.where(read_SP, centred_SP - seed_S[:, None], 0.0)
    residual: Floats = np.where(read_SP, shifted_SP - shifted_SP.sum(axis=0) / count_P, 0.0)
    return residual
