"""Factors: what their levels add to the spread between runs, and no more."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from safeft.errors import DataError
from safeft.stats import Component, factor_components

from .designs import Floats

Settings = dict[tuple[int, ...], Floats]


def _by_name(settings: Settings, names: list[str]) -> dict[str, Component]:
    return {one.name: one for one in factor_components(settings, names)}


def _drawn(
    rng: np.random.Generator, shape: tuple[int, int, int], *effects: Floats, interaction: float = 0
) -> Settings:
    """Additive factors on seeds, settings × seeds, prompts and noise of standard deviation 0.3."""
    S, P, K = shape
    seed_S, prompt_P = rng.normal(0, 0.05, S), rng.normal(0, 0.2, P)
    found = {}
    for place in itertools.product(*(range(len(one)) for one in effects)):
        level = sum(one[i] for one, i in zip(effects, place, strict=True))
        level += interaction * math.prod(1 if i else -1 for i in place)
        run_S = seed_S + rng.normal(0, 0.04, S)
        noise = rng.normal(0, 0.3, (S, P, K))
        found[place] = level + run_S[:, None, None] + prompt_P[:, None] + noise
    return found


def test_without_noise_the_components_are_the_variance_of_the_settings() -> None:
    """V of two factors and their interaction add up to the variance of the settings' rates."""
    one, two = np.array([0.0, 0.3]), np.array([0.1, 0.2, 0.6])
    settings = {
        (i, j): np.full((2, 3, 1), one[i] + two[j] + 0.1 * i * j) for i in (0, 1) for j in (0, 1, 2)
    }
    got = _by_name(settings, ["one", "two"])
    rate = {key: cube.mean() for key, cube in settings.items()}
    table = np.array([[rate[i, j] for j in range(3)] for i in range(2)])
    assert got["one"].standard_deviation == pytest.approx(table.mean(axis=1).std())
    assert got["two"].standard_deviation == pytest.approx(table.mean(axis=0).std())
    total = sum(one.standard_deviation**2 for one in got.values())
    assert total == pytest.approx(table.var())
    assert sum(one.share for one in got.values()) == pytest.approx(1)
    assert got["interactions"].standard_deviation > 0.01


@pytest.mark.parametrize("shape", [(2, 60, 1), (5, 40, 3), (5, 40, 1)])
@pytest.mark.parametrize("size", [0.0, 0.1])
def test_its_interval_covers_the_truth(shape: tuple[int, int, int], size: float) -> None:
    """93 % or more of 300 designs, with another factor beside it and with none."""
    rng = np.random.default_rng(int(1000 * size) + shape[0])
    effect, beside = size * np.array([-1.0, 1.0]), np.array([-0.05, 0.0, 0.05])
    for effects in ((effect,), (effect, beside)):
        names = ["one", "two"][: len(effects)]
        hits = 0
        for _ in range(300):
            one = _by_name(_drawn(rng, shape, *effects), names)["one"]
            hits += one.low - 1e-9 <= size <= one.high + 1e-9
        assert hits / 300 >= 0.93


def test_an_interaction_is_no_main_effect() -> None:
    """Levels that help in one setting and hurt in the other leave both factors at nothing."""
    flat = np.zeros(2)
    got = _by_name(
        _drawn(np.random.default_rng(1), (5, 60, 3), flat, flat, interaction=0.3), ["a", "b"]
    )
    assert got["interactions"].low > 0.1
    assert got["a"].standard_deviation < 0.05 and got["b"].standard_deviation < 0.05


def test_the_seeds_are_split_within_a_setting() -> None:
    """A factor that moves every run moves no seed's component."""
    rng = np.random.default_rng(2)
    plain = _drawn(rng, (6, 50, 3), np.zeros(2))
    moved = {key: cube + key[0] for key, cube in plain.items()}
    before, after = _by_name(plain, ["a"]), _by_name(moved, ["a"])
    for name in ("training_seed", "decoding_seed"):
        assert before[name].standard_deviation == pytest.approx(after[name].standard_deviation)
    assert after["a"].standard_deviation == pytest.approx(0.5, abs=0.05)
    greedy = {key: cube[:, :, :1] for key, cube in plain.items()}
    assert set(_by_name(greedy, ["a"])) == {"a", "training_seed"}
    untuned = {key: cube[:1] for key, cube in plain.items()}
    assert set(_by_name(untuned, ["a"])) == {"a", "decoding_seed"}


def test_only_prompts_that_every_setting_read_enter() -> None:
    """An unread verdict takes its prompt out everywhere; too few left is an error."""
    settings = _drawn(np.random.default_rng(3), (3, 20, 2), np.array([0.0, 0.2]))
    holed = {key: cube.copy() for key, cube in settings.items()}
    holed[1,][2, 4, 0] = np.nan
    without = {key: np.delete(cube, 4, axis=1) for key, cube in settings.items()}
    assert factor_components(holed, ["a"]) == factor_components(without, ["a"])
    holed[0,][:, :19] = np.nan
    with pytest.raises(DataError, match="fewer than two prompts"):
        factor_components(holed, ["a"])


def test_designs_that_cannot_be_split_are_refused() -> None:
    """A combination in which nothing was read, and settings of other seeds."""
    settings = _drawn(np.random.default_rng(4), (3, 20, 1), np.zeros(2), np.zeros(2))
    del settings[1, 1]
    with pytest.raises(DataError, match="some combination"):
        factor_components(settings, ["a", "b"])
    with pytest.raises(DataError, match="same training seeds"):
        factor_components({(0,): np.ones((2, 3, 1)), (1,): np.ones((3, 3, 1))}, ["a"])
