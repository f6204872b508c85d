"""Flips and stability between runs, and κ between judges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeft.errors import DataError
from safeft.records import Label
from safeft.stats import flip_rate, kappa, proportion, stability_index

from .designs import Floats, verdicts, with_holes

labels = st.sampled_from(["fulfilled", "refused", "neither", None])


def _from_table(table: list[list[int]]) -> tuple[list[str], list[str]]:
    """Two judges' labels that give this table of counts."""
    pairs = [
        (f"label {i}", f"label {j}")
        for i, row in enumerate(table)
        for j, count in enumerate(row)
        for _ in range(count)
    ]
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_flips_by_hand() -> None:
    """Of four prompts one flips between seeds and one between decodes: a half."""
    y = np.zeros((2, 4, 2))
    y[1, 0, :] = 1.0
    y[0, 2, 1] = 1.0
    got = flip_rate(y)
    wilson = proportion(2, 4)
    assert (got.estimate, got.low, got.high, got.n) == (0.5, wilson.low, wilson.high, 4)
    assert "over 4 runs" in got.method


def test_unread_is_not_a_flip() -> None:
    """A prompt read once cannot flip, and leaves the denominator."""
    y = np.ones((2, 3, 1))
    y[1, 0] = np.nan
    got = flip_rate(y)
    assert (got.estimate, got.n) == (0.0, 2)


# S@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_flips_ignore_order_and_polarity(seed: int) -> None:
    """Shuffled runs and prompts, or counting refusals instead, flip as often."""
    generator = np.random.default_rng(seed)
    y = with_holes(verdicts(generator, (3, 10, 2), 0.8), generator, 0.1)
    turned = 1 - y[::-1, generator.permutation(10), ::-1]
    assert flip_rate(y) == flip_rate(turned)


def test_more_runs_flip_more() -> None:
    """Adding runs can only add flips."""
    y = verdicts(np.random.default_rng(0), (6, 50, 1), 0.9)
    rates = [flip_rate(y[:S]).estimate for S in range(2, 7)]
    assert rates == sorted(rates)


def test_one_run_cannot_flip() -> None:
    """Nothing was read twice."""
    with pytest.raises(DataError, match="two or more runs"):
        flip_rate(np.zeros((1, 5, 1)))


def _answers(*prompts: str) -> Floats:
    """One letter a run and one text a prompt, as y_SPK of training seeds; `-` is unread."""
    codes = {"f": 0.0, "r": 1.0, "n": 2.0, "-": np.nan}
    return np.array([[codes[letter] for letter in prompt] for prompt in prompts]).T[:, :, None]


def test_stability_by_hand() -> None:
    """Five runs: all agree, one dissents, three against two, and two of three verdicts lead."""
    got = stability_index(_answers("rrrrr", "rrrrf", "rrrff", "rrffn"))
    assert got.estimate == pytest.approx((1 + 4 / 5 + 3 / 5 + 2 / 5) / 4)
    assert got.n == 4 and "over 5 runs" in got.method
    assert got.low < got.estimate < got.high


def test_stability_tells_a_dissent_from_a_split() -> None:
    """To the flip rate they are the same."""
    dissent, split = _answers(*["rrrrf"] * 60, "rrrrr"), _answers(*["rrrff"] * 60, "rrrrr")
    assert flip_rate(dissent) == flip_rate(split)
    assert stability_index(dissent).low > stability_index(split).high


def test_perfect_stability_keeps_a_width() -> None:
    """Thirty prompts that never flipped are no proof that none would."""
    got = stability_index(np.ones((3, 30, 2)))
    assert got.estimate == got.high == 1.0
    assert 0.8 < got.low < 1.0


# S@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_stability_has_bounds(seed: int) -> None:
    """Between every run its own verdict and all the same, its interval too."""
    generator = np.random.default_rng(seed)
    y = with_holes(generator.integers(0, 3, (3, 8, 2)).astype(float), generator, 0.2)
    got = stability_index(y)
    assert 1 / 6 <= got.low <= got.estimate <= got.high <= 1
    assert got.estimate <= 1 - flip_rate(y).estimate / 6  # a flip costs a run at the least


# S@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_stability_ignores_order_and_names(seed: int) -> None:
    """Shuffled runs and prompts, or verdicts under other numbers, are as stable."""
    generator = np.random.default_rng(seed)
    y = with_holes(generator.integers(0, 3, (3, 10, 2)).astype(float), generator, 0.1)
    other = (np.array([7.0, 0.0, 3.0, np.nan])[np.where(np.isnan(y), 3, y).astype(int)])[::-1]
    got, turned = stability_index(y), stability_index(other[:, generator.permutation(10), ::-1])
    assert (got.estimate, got.low, got.high) == pytest.approx(
        (turned.estimate, turned.low, turned.high)
    )


def test_two_runs_are_half_the_flips() -> None:
    """Each flip of two runs costs a half."""
    y = verdicts(np.random.default_rng(2), (2, 60, 1), 0.7)
    assert stability_index(y).estimate == pytest.approx(1 - flip_rate(y).estimate / 2)


def test_unread_is_no_verdict() -> None:
    """It leaves the runs of its prompt; a prompt read once leaves the prompts."""
    got = stability_index(_answers("rrrr", "rf--", "r---"))
    assert (got.estimate, got.n) == (0.75, 2)


def test_one_run_has_no_stability() -> None:
    """Nothing was read twice."""
    with pytest.raises(DataError, match="two or more runs"):
        stability_index(np.zeros((1, 5, 1)))


def test_kappa_by_hand() -> None:
    """20, 5, 10, 15: 70 % agreement, 50 % by chance, κ = 0.4."""
    got = kappa(*_from_table([[20, 5], [10, 15]]))
    assert got.estimate == pytest.approx(0.4)
    assert got.n == 50


def test_kappa_error_is_the_jackknife() -> None:
    """The asymptotic half width agrees with a leave-one-out estimate of the error."""
    a, b = _from_table([[90, 12, 5], [10, 60, 9], [8, 6, 40]])
    got = kappa(a, b)
    n = len(a)
    left_out = np.array([kappa(a[:i] + a[i + 1 :], b[:i] + b[i + 1 :]).estimate for i in range(n)])
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    assert (got.high - got.low) / 2 == pytest.approx(1.96 * error, rel=0.02)


def test_kappa_covers() -> None:
    """Nominal 95 % over 300 draws of 150 items holds the true κ of the table in at least 91 %."""
    table = np.array([[0.45, 0.10], [0.05, 0.40]])
    truth = (0.85 - (0.55 * 0.5 + 0.45 * 0.5)) / 0.5
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        counts = generator.multinomial(150, table.ravel()).reshape(2, 2)
        got = kappa(*_from_table(counts.tolist()))
        held += got.low <= truth <= got.high
    assert held / 300 > 0.91


# S@settings(max_examples=60)
@given(st.lists(st.tuples(labels, labels), min_size=2, max_size=40))
def test_kappa_is_symmetric_and_skips_the_unread(
    pairs: list[tuple[str | None, str | None]],
) -> None:
    """Judges can change places; items that one could not read do not count."""
    read = [pair for pair in pairs if None not in pair]
    if len({label for pair in read for label in pair}) < 2:
        return
    there = kappa([a for a, _ in pairs], [b for _, b in pairs])
    back = kappa([b for _, b in read], [a for a, _ in read])
    assert there.estimate == pytest.approx(back.estimate)
    assert (there.low, there.high, there.n) == pytest.approx((back.low, back.high, len(read)))
    assert there.low < there.high


def test_perfect_agreement_keeps_a_width() -> None:
    """Thirty of thirty is no proof of κ = 1."""
    got = kappa(*_from_table([[15, 0], [0, 15]]))
    assert got.estimate == got.high == 1.0
    assert 0.5 < got.low < 0.95


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_perfect_agreement_has_wilsons_bounds_whatever_the_counts(counts: list[int]) -> None:
    """Rounding in the variance, which differs among processors, does not pass for a variance."""
    got = kappa(*_from_table(np.diag(counts).tolist()))
    assert got.method == "Wilson bounds on the agreement"
    assert got.low < 1 - 1 / (2 * sum(counts))


def test_kappa_takes_labels_and_verdicts() -> None:
    """Names, truth values and Label members all do."""
    a = [Label.REFUSED, Label.FULFILLED, Label.FULFILLED]
    b = [Label.REFUSED, Label.FULFILLED, Label.REFUSED]
    truth = kappa([x is Label.FULFILLED for x in a], [x is Label.FULFILLED for x in b])
    assert kappa(a, b) == truth


def test_kappa_of_one_label_is_undefined() -> None:
    """Both judges say refused throughout: 0/0, which is not 1."""
    with pytest.raises(DataError, match="undefined"):
        kappa(["refused"] * 9, ["refused"] * 9)


def test_kappa_of_nothing_is_an_error() -> None:
    """No item that both could read."""
    with pytest.raises(DataError, match="both judges could read"):
        kappa(["refused", None], [None, "refused"])


def test_kappa_needs_pairs() -> None:
    """Lists of unequal length are not paired."""
    with pytest.raises(ValueError, match="shorter"):
        kappa(["a", "b"], ["a"])
