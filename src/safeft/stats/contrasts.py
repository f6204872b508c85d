"""Recipe against recipe: differences, and many of them at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.stats.crossed import Error, crossed_error, prompt_term
from safeft.stats.distributions import t_quantile, t_two_sided, upper_point
from safeft.stats.layout import Bools, Floats, Summary, cube, summarise
from safeft.stats.rates import NO_INTERVAL, check_arm

SEED_TERM_MISSING = "was trained once: its seed term is missing"
NO_VARIANCE = f"{NO_INTERVAL}: no variance in either arm"


@dataclass(frozen=True, slots=True)
class Contrast:
    """One recipe minus another.

    `level` is that of this interval, n counts prompts that either arm has read, `n_seeds` the
    first arm's training seeds. Without any variance p is NaN: there is no scale to measure it by.
    """

    difference: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    p: float
    method: str
    level: float
    n: int
    n_seeds: int


@dataclass(frozen=True, slots=True)
class Simultaneous:
    """A contrast whose interval holds together with its siblings, and its Holm-adjusted p."""

    contrast: Contrast
    p_adjusted: float


def contrast(
    a_SPK: npt.ArrayLike,
    b_SPK: npt.ArrayLike,
    level: float = 0.95,
    *,
    bounded: bool = True,
    a_fixed: bool = False,
    b_fixed: bool = False,
) -> Contrast:
    """a - b over fresh training seeds and fresh prompts: the crossed t of `crossed.py`.

    a_SPK, b_SPK: training seeds × prompts × decoding seeds, NaN = unread, the same prompts in the
    same order; seeds and decodes may differ in number. `bounded` says that values are rates in
    [0, 1]: half a pseudo-prompt per cell of the paired table is then added to the prompt term
    (Agresti & Min 2005), so 0/440 against 0/440 keeps a width, and the interval is clipped to
    [-1, 1]. `a_fixed` and `b_fixed` mark one given model, which has no training-seed term; a recipe
    trained once has one that cannot be estimated, and `method` says that it is missing.
    Raises ValueError for shapes that do not match, DataError when nothing was read, or when a
    single prompt meets a recipe trained once.
    """
    a, b = _arm(a_SPK, bounded, a_fixed), _arm(b_SPK, bounded, b_fixed)
    read_P = _read_by_either(a, b)
    _check_single_prompt(int(read_P.sum()), (a, a_fixed), (b, b_fixed))
    error = _error(a, b, read_P, bounded)
    difference = a.estimate - b.estimate
    half = t_quantile(upper_point(level), error.freedom) * error.standard
    edge = 1.0 if bounded else math.inf
    return Contrast(
        difference=difference,
        low=max(-edge, difference - half),
        high=min(edge, difference + half),
        standard_error=error.standard,
        degrees_of_freedom=error.freedom,
        p=t_two_sided(difference / error.standard, error.freedom) if error.variance else math.nan,
        method=_method((a, a_fixed), (b, b_fixed), read_P) if error.variance else NO_VARIANCE,
        level=level,
        n=int(read_P.sum()),
        n_seeds=a.seeds,
    )


def simultaneous(
    arms: Mapping[str, npt.ArrayLike],
    reference_SPK: npt.ArrayLike,
    level: float = 0.95,
    *,
    bounded: bool = True,
    fixed: Collection[str] = (),
    reference_fixed: bool = False,
) -> dict[str, Simultaneous]:
    """Every arm minus one reference: Bonferroni-simultaneous intervals, Holm-adjusted p.

    Each interval stands at 1 - (1 - level)/m. Dunnett's would be narrower, but it pools the runs'
    variance, and the reference is plausibly the noisiest arm. `fixed` names the arms that are one
    given model. Raises as `contrast` does.
    """
    if not arms:
        return {}
    each = 1 - (1 - level) / len(arms)
    contrasts = {
        name: contrast(
            y_SPK,
            reference_SPK,
            each,
            bounded=bounded,
            a_fixed=name in fixed,
            b_fixed=reference_fixed,
        )
        for name, y_SPK in arms.items()
    }
    adjusted = holm([one.p for one in contrasts.values()])
    pairs = zip(contrasts.items(), adjusted, strict=True)
    return {name: Simultaneous(one, float(p)) for (name, one), p in pairs}


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's step-down adjusted p, in the order given (Holm 1979).

    A comparison without p (NaN) stays in the family: the others are adjusted for it too.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _arm(y_SPK: npt.ArrayLike, bounded: bool, fixed: bool) -> Summary:
    """One arm's summary, checked."""
    values = cube(y_SPK)
    check_arm(values, bounded, fixed)
    return summarise(values)


def _read_by_either(a: Summary, b: Summary) -> Bools:
    """The prompts that were read in an arm. Raises ValueError when the arms' prompts differ."""
    if a.read.shape != b.read.shape:
        raise ValueError(f"the arms' prompts differ: {len(a.read)} against {len(b.read)}")
    return np.asarray(a.read | b.read)


def _check_single_prompt(count: int, *arms: tuple[Summary, bool]) -> None:
    """With one prompt only the runs can speak: each recipe needs two, one of the arms at least."""
    trained_once = any(arm.seeds == 1 and not fixed for arm, fixed in arms)
    if count == 1 and (trained_once or all(fixed for _, fixed in arms)):
        raise DataError("a contrast on one prompt needs two or more training seeds per recipe")


def _error(a: Summary, b: Summary, read_P: Bools, bounded: bool) -> Error:
    """The crossed error; 0 without any variance: then there is no scale to measure by."""
    pseudo = 1.0 if bounded else 0.0
    error = crossed_error([a, b], prompt_term(a.influence - b.influence, read_P, pseudo))
    dust = error.negligible(max(abs(a.estimate), abs(b.estimate)))
    return Error(0.0, error.freedom) if dust else error


def _method(a: tuple[Summary, bool], b: tuple[Summary, bool], read_P: Bools) -> str:
    """Names the design and what each arm of one run leaves out."""
    if a[0].seeds > 1 or b[0].seeds > 1:
        name = "crossed seeds × prompts t" if read_P.sum() > 1 else "Welch t over training seeds"
    else:
        name = "paired prompt-clustered t"
    notes = [_note(*a, "first arm"), _note(*b, "second arm")]
    return "; ".join([name, *filter(None, notes)])


def _note(summary: Summary, fixed: bool, arm: str) -> str:
    """What the seed term of one arm is worth; empty when it is estimated."""
    if fixed:
        return f"{arm} is one fixed model: no seed term"
    return f"{arm} {SEED_TERM_MISSING}" if summary.seeds == 1 else ""
