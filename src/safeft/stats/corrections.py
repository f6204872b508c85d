"""Rates corrected for the judge's errors, from answers that people have labelled as well.

Judges err differently on different recipes: with one correction pooled over recipes the interval
of a difference covered the truth in 0 % of simulated studies. So the labels are a recipe's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from safeft.errors import DataError
from safeft.records import Estimate
from safeft.stats.contrasts import Contrast, contrast
from safeft.stats.crossed import Error, crossed_error, join, prompt_term, satterthwaite
from safeft.stats.distributions import t_quantile, t_two_sided, upper_point
from safeft.stats.layout import Floats, cube, summarise

LEAST = 20  # labels a recipe: below it the variance of the judge's error is itself a guess
USELESS = 0.05  # of Youden's J: a judge that is nearer to chance cannot be corrected


@dataclass(frozen=True, slots=True)
class Labelled:
    """A random sample of one recipe's answers: what the judge said, what people said (0 or 1)."""

    judged: Floats
    human: Floats

    @classmethod
    def of(cls, judged: Sequence[float], human: Sequence[float]) -> Labelled:
        """Checked. Raises DataError for unequal lengths, fewer than 20 labels or other values."""
        pair = cls(np.asarray(judged, dtype=np.float64), np.asarray(human, dtype=np.float64))
        if len(pair.judged) != len(pair.human):
            raise DataError("each label needs the verdict of the same answer")
        if len(pair.human) < LEAST:
            raise DataError(f"{len(pair.human)} labels are too few to correct a rate; give {LEAST}")
        if not np.isin(np.concatenate([pair.judged, pair.human]), (0.0, 1.0)).all():
            raise DataError("labels and verdicts must be 0 or 1; leave unread answers out")
        return pair

    @property
    def rectifier(self) -> float:
        """What must be added to the judge's rate: mean(human - judge)."""
        return float((self.human - self.judged).mean())

    @property
    def accuracies(self) -> tuple[Floats, Floats]:
        """Right verdicts (0 or 1) on what people call positive, and on the rest."""
        return self.judged[self.human == 1], 1 - self.judged[self.human == 0]

    @property
    def youden(self) -> float:
        """Sensitivity + specificity - 1: how much of a change the judge shows.

        Half a miss each way, so an accuracy that no label speaks of counts as a half.
        Raises DataError when the judge is no better than chance.
        """
        sensitivity, specificity = (_smoothed(hits) for hits in self.accuracies)
        youden = sensitivity + specificity - 1
        if youden < USELESS:
            raise DataError(
                f"sensitivity {sensitivity:.2f} and specificity {specificity:.2f}: the judge is no "
                "better than chance here, and no correction makes it so; use the labels alone"
            )
        return youden

    @property
    def error(self) -> Error:
        """The rectifier's variance. Half a disagreement each way keeps it above 0 (Agresti)."""
        squares = float(((self.human - self.judged - self.rectifier) ** 2).sum()) + 1.0
        n = len(self.human)
        return Error(squares / ((n - 1) * n), float(n - 1))


def prediction_powered(
    y_SPK: npt.ArrayLike, labelled: Labelled, level: float = 0.95, *, fixed: bool = False
) -> Estimate:
    """The rate that people would have given: the judge's, plus its mean error on the labels.

    y_SPK: the judge's verdicts, training seeds × prompts × decoding seeds. Prediction-powered
    inference for a mean (Angelopoulos et al. 2023): θ = mean(f) + mean(y - f). Its variance is that
    of the rectifier plus the crossed one of mean(f) over J²: between runs and prompts the judge
    shows only J (Youden's) of what people would. n counts prompts.
    Raises DataError when the judge is near chance.
    """
    summary = summarise(cube(y_SPK))
    judged = crossed_error([summary], prompt_term(summary.influence, summary.read))
    error = join(_amplified(judged, labelled.youden), labelled.error)
    shift = labelled.rectifier
    method = f"prediction-powered, {len(labelled.human)} labels"
    value = _clipped(summary.estimate + shift)
    half = t_quantile(upper_point(level), error.freedom) * error.standard
    return Estimate(
        estimate=value,
        low=_clipped(summary.estimate + shift - half),
        high=_clipped(summary.estimate + shift + half),
        n=summary.prompts,
        n_seeds=summary.seeds,
        minimum=_clipped(float(summary.runs.min()) + shift),
        maximum=_clipped(float(summary.runs.max()) + shift),
        method=method if summary.seeds > 1 or fixed else f"{method}, holds for this one run only",
    )


def corrected_contrast(found: Contrast, a: Labelled, b: Labelled) -> Contrast:
    """A difference of two recipes, each with the rectifier of its own labels."""
    judged = Error(found.standard_error**2, found.degrees_of_freedom)
    weaker = min(a.youden, b.youden)
    error = join(_amplified(judged, weaker), satterthwaite([a.error, b.error]))
    difference = found.difference + a.rectifier - b.rectifier
    return _moved(found, difference, error, "prediction-powered")


def rogan_gladen(
    y_SPK: npt.ArrayLike, labelled: Labelled, level: float = 0.95, *, fixed: bool = False
) -> Estimate:
    """The simple alternative: θ = (p + Sp - 1)/(Se + Sp - 1) (Rogan & Gladen 1978).

    Its variance holds that of the judge's rate and of both accuracies (delta method). Raises
    DataError when the labels hold one class only, or when the judge is no better than chance.
    """
    summary = summarise(cube(y_SPK))
    judged = crossed_error([summary], prompt_term(summary.influence, summary.read))
    value, labels = _unfolded(summary.estimate, labelled)
    error = join(_amplified(judged, labelled.youden), labels)
    half = t_quantile(upper_point(level), error.freedom) * error.standard
    ends = [_clipped(_unfolded(float(run), labelled)[0]) for run in summary.runs]
    method = f"Rogan–Gladen, {len(labelled.human)} labels"
    return Estimate(
        estimate=_clipped(value),
        low=_clipped(value - half),
        high=_clipped(value + half),
        n=summary.prompts,
        n_seeds=summary.seeds,
        minimum=min(ends),
        maximum=max(ends),
        method=method if summary.seeds > 1 or fixed else f"{method}, holds for this one run only",
    )


def rogan_gladen_contrast(
    a_SPK: npt.ArrayLike,
    b_SPK: npt.ArrayLike,
    a: Labelled,
    b: Labelled,
    level: float = 0.95,
    *,
    a_fixed: bool = False,
    b_fixed: bool = False,
) -> Contrast:
    """a - b, each as `rogan_gladen` corrects it by its own labels.

    a_SPK, b_SPK: the judge's verdicts, as for `contrast`. Each arm is stretched by its own judge's
    1/J before the crossed error is taken, so that prompts which move both still cancel; where no
    verdict varies, the error is `contrast`'s own. Raises as `rogan_gladen` and `contrast` do.
    """
    rates = [float(summarise(cube(one)).estimate) for one in (a_SPK, b_SPK)]
    (a_value, a_labels), (b_value, b_labels) = map(_unfolded, rates, (a, b))
    plain = contrast(a_SPK, b_SPK, level, a_fixed=a_fixed, b_fixed=b_fixed)
    a_SPK, b_SPK = (np.asarray(y, np.float64) / x.youden for y, x in ((a_SPK, a), (b_SPK, b)))
    stretched = contrast(a_SPK, b_SPK, level, bounded=False, a_fixed=a_fixed, b_fixed=b_fixed)
    wider = max(plain, stretched, key=lambda one: one.standard_error)
    judged = Error(wider.standard_error**2, wider.degrees_of_freedom)
    error = join(judged, satterthwaite([a_labels, b_labels]))
    return _moved(plain, a_value - b_value, error, "Rogan–Gladen")


def _unfolded(rate: float, labelled: Labelled) -> tuple[float, Error]:
    """A judge's rate as people would have counted it, not clipped, and what the labels add to it.

    Raises DataError when the labels hold one class only.
    """
    hits, passes = labelled.accuracies
    if not len(hits) or not len(passes):
        raise DataError("the labels hold one class only, so one accuracy is unknown; label more")
    youden = labelled.youden
    value = (rate + _smoothed(passes) - 1) / youden
    labels = [_accuracy(hits, value / youden), _accuracy(passes, (1 - value) / youden)]
    return value, satterthwaite(labels)


def _moved(found: Contrast, difference: float, error: Error, method: str) -> Contrast:
    """The contrast around a corrected difference, with its own error."""
    half = t_quantile(upper_point(found.level), error.freedom) * error.standard
    return replace(
        found,
        difference=difference,
        low=max(-1.0, difference - half),
        high=min(1.0, difference + half),
        standard_error=error.standard,
        degrees_of_freedom=error.freedom,
        p=t_two_sided(difference / error.standard, error.freedom),
        method=f"{found.method}, {method}",
    )


def _amplified(judged: Error, youden: float) -> Error:
    """The error of what people would say, where the judge shows `youden` of it."""
    return Error(judged.variance / youden**2, judged.freedom)


def _accuracy(hits: Floats, factor: float) -> Error:
    """The part of an accuracy's variance; half a miss each way, as at the edges it would be 0."""
    n = len(hits)
    rate = _smoothed(hits)
    return Error(factor**2 * rate * (1 - rate) / n, float(max(n - 1, 1)))


def _smoothed(hits: Floats) -> float:
    """A share with half a miss each way: a half where there is nothing."""
    return (float(hits.sum()) + 0.5) / (len(hits) + 1)


def _clipped(rate: float) -> float:
    return min(max(rate, 0.0), 1.0)
