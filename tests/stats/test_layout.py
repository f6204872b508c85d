"""NaN is a missing cell, and the pieces of an arm are what ANOVA says."""

from __future__ import annotations

import numpy as np
import pytest

from safeft.errors import DataError
from safeft.stats.layout import cube, mean_read, run_means, summarise

from .designs import additive, verdicts, with_holes


def test_three_axes_or_nothing() -> None:
    """Two axes could be seeds × prompts or prompts × decodes: refused."""
    with pytest.raises(ValueError, match="three axes"):
        cube(np.zeros((3, 4)))


def test_infinite_values_are_refused() -> None:
    """A loss that ran away is not a number to average."""
    with pytest.raises(ValueError, match="infinite"):
        cube([[[np.inf]]])


def test_nothing_read_is_an_error() -> None:
    """An arm of unread cells has no rate, not even 0."""
    with pytest.raises(DataError, match="no cell was read"):
        cube(np.full((2, 3, 1), np.nan))


def test_unread_seeds_are_left_out() -> None:
    """A training seed that nobody read does not count as a seed."""
    y = np.zeros((3, 4, 1))
    y[1] = np.nan
    assert cube(y).shape == (2, 4, 1)


def test_mean_read_skips_nan() -> None:
    """A mean is over what was read; of nothing it stays NaN."""
    got = mean_read(np.array([[1.0, np.nan, 0.0], [np.nan, np.nan, np.nan]]), axis=1)
    assert got[0] == 0.5
    assert np.isnan(got[1])


def test_run_means_are_per_training_seed() -> None:
    """Decodes are averaged within a prompt; a seed that nobody read has no mean."""
    y = np.array([[[1.0, 0.0], [1.0, np.nan]], [[np.nan, np.nan], [np.nan, np.nan]]])
    assert run_means(y).tolist() == pytest.approx([0.75, np.nan], nan_ok=True)


def test_summary_in_the_balanced_case() -> None:
    """Seed term s²/S, influence (d_p - d)/P, overlap MS/(SP), as evaluation.md writes them."""
    y = additive(np.random.default_rng(0), (4, 7, 2), 1.0, 0.5, 1.0, 1.0)
    cells, summary = y.mean(axis=2), summarise(cube(y))
    runs, prompts = cells.mean(axis=1), cells.mean(axis=0)
    left = cells - runs[:, None] - prompts + cells.mean()
    assert summary.estimate == pytest.approx(y.mean())
    assert summary.seed_term == pytest.approx(runs.var(ddof=1) / 4)
    assert summary.influence == pytest.approx((prompts - y.mean()) / 7)
    assert summary.overlap == pytest.approx((left**2).sum() / (3 * 6) / (4 * 7))


def test_interaction_with_holes_is_the_least_squares_one() -> None:
    """The eliminated equations give the residual of a regression on seed and prompt dummies."""
    generator = np.random.default_rng(1)
    y = with_holes(additive(generator, (4, 9, 1), 1.0, 0.0, 1.0, 1.0), generator, 0.25)
    cells = y[:, :, 0]
    seed, prompt = np.nonzero(~np.isnan(cells))
    dummies = np.hstack([np.eye(4)[seed], np.eye(9)[prompt]])
    values = cells[seed, prompt]
    fitted = dummies @ np.linalg.lstsq(dummies, values, rcond=None)[0]
    freedom = len(values) - np.linalg.matrix_rank(dummies)
    expected = ((values - fitted) ** 2).sum() / freedom
    count_S = np.bincount(seed)
    weights = 1 / (4 * count_S[seed])
    assert summarise(y).overlap == pytest.approx(expected * (weights**2).sum())


def test_one_seed_has_neither_seed_term_nor_overlap() -> None:
    """One run shows no spread between runs."""
    summary = summarise(verdicts(np.random.default_rng(2), (1, 50, 3)))
    assert (summary.seed_term, summary.overlap, summary.seeds) == (0.0, 0.0, 1)
