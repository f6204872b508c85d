"""What of the differences between runs each chosen factor makes, beside their seeds.

The levels of a factor (two learning rates, int8 and nf4) were chosen and not drawn, so its variance
is that of the levels at hand. With L settings, every combination of levels, and an orthonormal set
of q contrasts between them that spans the factor, u is a contrast's value by training seed and
prompt, decodes averaged:

    V = (q/L)·(MS - E)/(S P),  MS = S P Σ ū²/q,  E = MS_s + MS_p - MS_sp ≥ max(MS_s, MS_p)

MS_s, MS_p, MS_sp are u's mean squares over seeds, prompts and their interaction; E is a quasi-F
denominator with Satterthwaite's degrees of freedom (Cornfield & Tukey 1956; Satterthwaite 1946).
The interval of V inverts the noncentral F (Steiger 2004). The V of all factors and of their
interactions add up to the variance of the settings' rates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.crossed import Error, satterthwaite
from safeft.stats.distributions import noncentrality, upper_point
from safeft.stats.layout import Floats, cube, mean_read
from safeft.stats.variance import Component, MeanSquare, component, shared, sources

INTERACTION = "interactions"
RUN = ("training_seed", "decoding_seed")
Levels = tuple[int, ...]


def factor_components(
    settings: Mapping[Levels, npt.ArrayLike], names: Sequence[str], level: float = 0.95
) -> tuple[Component, ...]:
    """How the rate of a run is spread by each factor, their interactions, and the seeds.

    settings: every combination of the levels of `names` → training seeds × prompts × decoding
    seeds; the settings share their seeds and prompts, and only prompts read in all of them enter.
    The seeds' components are those within a setting, averaged over the settings with the most
    decoding seeds; their intervals count the freedom of a single one. Shares are of the variance
    between runs. Raises DataError when a combination is missing, or nothing was read in it.
    """
    levels = zip(*settings, strict=True)
    if set(settings) != set(itertools.product(*map(set, levels))):
        raise DataError("in some combination of the levels nothing was read")
    arrays = _read_by_all([cube(settings[key]) for key in sorted(settings)])
    mean_LSP = np.stack([mean_read(one, axis=2) for one in arrays])
    found = [
        _fixed(name, contrasts_QL, mean_LSP, level)
        for name, contrasts_QL in _contrasts(sorted(settings), names).items()
    ]
    return shared([*found, *_seeds(arrays, level)])


def _read_by_all(arrays: Sequence[Floats]) -> list[Floats]:
    if len({one.shape[:2] for one in arrays}) > 1:
        raise DataError("the settings were not run with the same training seeds and prompts")
    read = ~np.any([np.isnan(one).any(axis=(0, 2)) for one in arrays], axis=0)
    if read.sum() < 2:
        raise DataError("fewer than two prompts were read in every setting")
    return [one[:, read] for one in arrays]


def _contrasts(settings: Sequence[Levels], names: Sequence[str]) -> dict[str, Floats]:
    """Orthonormal contrasts of each factor, shape (q, L), and of what is left of two or more."""
    found: dict[str, Floats] = {}
    for place, name in enumerate(names):
        mine = np.array([key[place] for key in settings])
        dummies = np.array([mine == one for one in dict.fromkeys(mine.tolist())], dtype=float)
        found[name] = _basis(dummies - dummies.mean(axis=1, keepdims=True))
    every = _basis(np.eye(len(settings)) - 1 / len(settings))
    mains = np.vstack(list(found.values()))
    if len(rest := _basis(every - every @ mains.T @ mains)):
        found[INTERACTION] = rest
    return found


def _basis(rows: Floats) -> Floats:
    """An orthonormal basis of what the rows span."""
    _, size, directions = np.linalg.svd(rows, full_matrices=False)
    kept: Floats = directions[size > 1e-9]
    return kept


def _fixed(name: str, contrasts_QL: Floats, mean_LSP: Floats, level: float) -> Component:
    value_QSP = np.einsum("ql,lsp->qsp", contrasts_QL, mean_LSP)
    q, S, P = value_QSP.shape
    per_square = S * P * mean_LSP.shape[0]
    square = S * P * float((value_QSP.mean(axis=(1, 2)) ** 2).sum()) / q
    error = _error(value_QSP)
    if error.variance <= 1e-15:
        exact = math.sqrt(q * square / per_square)
        return Component(name, exact, exact, exact, math.nan)
    point, ratio = upper_point(level), square / error.variance
    ends = [noncentrality(ratio, q, error.freedom, one) for one in (point, 1 - point)]
    low, high = (math.sqrt(one * error.variance / per_square) for one in ends)
    spread = math.sqrt(max(0.0, q * (square - error.variance) / per_square))
    return Component(name, spread, low, high, math.nan)


def _error(value_QSP: Floats) -> Error:
    """E of the module docstring, per contrast."""
    q, S, P = value_QSP.shape
    centred = value_QSP - value_QSP.mean(axis=(1, 2), keepdims=True)
    seed, prompt = centred.mean(axis=2, keepdims=True), centred.mean(axis=1, keepdims=True)
    prompts = Error(S * float((prompt**2).sum()) / (q * (P - 1)), q * (P - 1))
    if S == 1:
        return prompts
    seeds = Error(P * float((seed**2).sum()) / (q * (S - 1)), q * (S - 1))
    rest = float(((centred - seed - prompt) ** 2).sum()) / (q * (S - 1) * (P - 1))
    larger = max(seeds, prompts, key=lambda one: one.variance)
    total = seeds.variance + prompts.variance - rest
    if total <= larger.variance:
        return larger
    return Error(total, satterthwaite([seeds, prompts]).freedom)


def _seeds(arrays: Sequence[Floats], level: float) -> list[Component]:
    """Training and decoding seed within a setting, mean squares averaged over settings."""
    most = max(one.shape[2] for one in arrays)
    split = [sources(one) for one in arrays if one.shape[2] == most]
    if arrays[0].shape[0] * most < 2:
        return []
    several = {"training_seed": arrays[0].shape[0] > 1, "decoding_seed": most > 1}
    shown = [name for name in RUN if name in split[0] and several[name]]
    return [component(name, _mean([one[name] for one in split]), level) for name in shown]


def _mean(split: Sequence[Sequence[MeanSquare]]) -> list[MeanSquare]:
    """The mean squares of the settings, averaged; their coefficients are the same."""
    return [
        replace(terms[0], value=sum(one.value for one in terms) / len(terms))
        for terms in zip(*split, strict=True)
    ]
