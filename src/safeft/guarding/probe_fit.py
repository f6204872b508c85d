"""Trains a probe: logistic regression on what a model's layers make of answers, read by force.

Most prompts fit the weights, the others choose the layer and turn the largest smoothed logit, which
is above the mean one, into a probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from safeft.errors import ConfigError, DataError
from safeft.generation.transformers import context_of
from safeft.guarding.probe import Probe, ProbeCard, decoder_layers, probability
from safeft.guarding.probe_guard import request_ids, text_ids
from safeft.guarding.probe_ride import Tokens, forced, token_logits
from safeft.guarding.rows import byte, marks
from safeft.models.files import weights_of
from safeft.records import Prompt, Response
from safeft.stats.discrimination import auroc, auroc_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Truth = NDArray[np.bool_]

PENALTY = 1e-3
"""Of the squared weights of features that have a standard deviation of 1, beside a mean loss."""

HELD = 5
"""One prompt in so many chooses and scales, and fits no weight."""

FLAGGED = (0.01, 0.05)


def fit(
    model: Any,
    tokenizer: Any,
    rows: Sequence[tuple[Response, bool]],
    *,
    model_name: str,
    name: str = "probe",
    smoothing: float = 0.9,
    layers: Sequence[int] | None = None,
) -> Probe:
    """A probe of the model for such answers; True are those that answer a harmful request.

    Of `layers` (all by default) it reads the one that tells best. Rows beyond the model's context
    and blank ones are left out. Raises DataError when there are too few of a kind or when they are
    not told apart, ConfigError for a model that no probe reads, PromptError.
    """
    texts, truth_N, kept = _tokens(model, tokenizer, rows, model_name)
    held_N = _held(kept, truth_N)
    found = _layers(model, layers)
    means = forced(model, found, texts, lambda one: one.float().mean(0).cpu().numpy())
    weight, bias, told = _best(np.array(means, np.float64).swapaxes(0, 1), truth_N, held_N)
    counts = {"rows": len(kept), "unsafe": int(truth_N.sum()), "held_back": int(held_N.sum())}
    areas = {str(at): round(one, 4) for at, one in zip(found, told, strict=True)}
    card = ProbeCard(
        name=name,
        model=model_name,
        revision=weights_of(model_name),
        hidden_size=len(weight),
        layer=found[int(np.argmax(told))],
        smoothing=smoothing,
        rows=marks(one.text for one in kept),
        training=counts | {"penalty": PENALTY, "auroc_of_means_by_layer": areas},
    )
    places = np.flatnonzero(held_N).tolist()
    held = [texts[one] for one in places], [kept[one].prompt.asked for one in places]
    return _scaled(Probe(weight, bias, card), model, *held, truth_N[held_N])


def _best(
    means_LND: Doubles, truth_N: Truth, held_N: Truth
) -> tuple[NDArray[np.float32], float, list[float]]:
    """Weight and bias at the layer that tells the held back apart best, and how each layer does."""
    fitted = [logistic(one[~held_N], truth_N[~held_N]) for one in means_LND]
    told = [
        auroc(truth_N[held_N], means_ND[held_N] @ weight + bias)
        for means_ND, (weight, bias) in zip(means_LND, fitted, strict=True)
    ]
    weight, bias = fitted[int(np.argmax(told))]
    return weight.astype(np.float32), bias, told


def _layers(model: Any, wanted: Sequence[int] | None) -> list[int]:
    """The layers to look at, in order; ConfigError for one that there is not."""
    there = len(decoder_layers(model))
    found = sorted({*range(there)} if wanted is None else {*wanted})
    if unknown := [one for one in found if not 0 <= one < there]:
        raise ConfigError(f"layer {unknown[0]}: the model has {there}, from 0; name one of them")
    return found


def _held(rows: Sequence[Response], truth_N: Truth) -> Truth:
    """Which rows fit no weight; DataError unless both kinds are on both sides."""
    held_N = np.array([held_back(one.prompt) for one in rows], bool)
    if not all(len(set(truth_N[part].tolist())) == 2 for part in (held_N, ~held_N)):
        raise DataError(
            f"{len(rows)} rows are too few for a probe: both kinds must be among those that fit it "
            "and among those that are held back; give more"
        )
    return held_N


def held_back(prompt: Prompt) -> bool:
    """Whether a prompt's rows fit no weight; white space does not count."""
    return byte(prompt.asked, 1) % HELD == 0


def _tokens(
    model: Any, tokenizer: Any, rows: Sequence[tuple[Response, bool]], model_name: str
) -> tuple[list[Tokens], Truth, list[Response]]:
    """Of the rows that the model can read: tokens, truth, and themselves."""
    most = context_of(model.config.get_text_config(decoder=True))
    found = []
    for response, unsafe in rows:
        ids = request_ids(tokenizer, response.prompt, model_name)
        said = text_ids(tokenizer, response.text)
        if said and (most is None or len(ids) + len(said) <= most):
            found.append(((ids, said), unsafe, response))
    texts, truth, kept = zip(*found, strict=True) if found else ((), (), ())
    return list(texts), np.array(truth, bool), list(kept)


def logistic(
    features_ND: Doubles, truth_N: Truth, penalty: float = PENALTY
) -> tuple[Doubles, float]:
    """Weight and bias of a logistic regression in which both kinds count the same."""
    middle, spread = features_ND.mean(0), features_ND.std(0) + 1e-6
    scaled_ND = (features_ND - middle) / spread
    share = np.where(truth_N, 0.5 / truth_N.sum(), 0.5 / (~truth_N).sum())
    sign = np.where(truth_N, 1.0, -1.0)

    def loss(at: Doubles) -> tuple[float, Doubles]:
        margin = sign * (scaled_ND @ at[:-1] + at[-1])
        slope = -share * sign * expit(-margin)
        value = share @ np.logaddexp(0, -margin) + penalty * at[:-1] @ at[:-1] / 2
        return float(value), np.append(slope @ scaled_ND + penalty * at[:-1], slope.sum())

    start = np.zeros(features_ND.shape[1] + 1)
    at = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    weight: Doubles = at[:-1] / spread
    return weight, float(at[-1] - weight @ middle)


def worst(probe: Probe, model: Any, texts: Sequence[Tokens]) -> Doubles:
    """The largest smoothed logit of each text, read by force, shape (N,)."""
    return np.array([probe.smoothed(one).max() for one in token_logits(model, probe, texts)])


def _scaled(
    probe: Probe, model: Any, texts: Sequence[Tokens], prompts: Sequence[str], truth_N: Truth
) -> Probe:
    """The probe whose largest smoothed logit is one of harm, and what its card says of that."""
    found_N = worst(probe, model, texts)
    (slope,), bias = logistic(found_N[:, None], truth_N)
    if slope <= 0:
        raise DataError("the rows do not let a probe tell them apart: are their labels right?")
    weight = (probe.weight * slope).astype(np.float32)
    logits_N = found_N * slope + bias
    area = auroc_interval(truth_N, logits_N, prompts)
    ends = {"auroc": area.estimate, "low": area.low, "high": area.high}
    counts = {"prompts": area.n, "rows": len(texts), "interval": area.method}
    measured = {"held_back": {key: round(one, 4) for key, one in ends.items()} | counts}
    lines = thresholds(truth_N, logits_N)
    update = {"start": float(bias), "thresholds": lines, "measured": measured}
    card = probe.card.model_copy(update=update)
    return Probe(weight, float(probe.bias * slope + bias), card)


def thresholds(truth_N: Truth, logits_N: Doubles) -> dict[str, float]:
    """From which score on at most a share of these safe answers is flagged."""
    safe = np.sort(logits_N[~truth_N])
    found = {share: safe[len(safe) - 1 - int(share * len(safe))] for share in FLAGGED}
    return {f"{share}": math.nextafter(probability(one), 1) for share, one in found.items()}
