"""Policies and readings to calibrate by: written out, of every kind, and drawn from a normal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from safeft.guarding.policy import Policy
from safeft.guarding.readings import Reading


def policy(**keys: Any) -> Policy:
    """A policy; without stages, one that blocks at an output of 0.5."""
    given_stages = {key: keys.pop(key) for key in ("input", "output", "reasoning") if key in keys}
    stages = given_stages or {"output": {"threshold": 0.5}}
    return Policy.model_validate({"name": "p", "refusal": "No.", **stages, **keys})


def reading(score: float, id: str = "1", **more: float) -> Reading:
    """An answer's reading: the score of `a`, and of other categories."""
    return Reading(id, {"output": {"a": score, **more}})


def logit(probability: float) -> float:
    """The scale on which thresholds move."""
    return math.log(probability / (1 - probability))


def logistic(value: float) -> float:
    """Its inverse."""
    return 1 / (1 + math.exp(-value))


scores = st.one_of(
    st.sampled_from([0.0, 1e-12, 0.5, 1 - 2**-53, 1.0]), st.floats(0, 1), st.floats(0.4, 0.6)
)
names = st.sampled_from(["a", "b", "c"])
rules = st.fixed_dictionaries(
    {"threshold": st.none() | st.sampled_from([0.2, 0.5, 0.97, 1.0])},
    optional={"action": st.sampled_from(["allow", "log", "block"])},
)
stages = st.fixed_dictionaries(
    {
        "threshold": st.floats(1e-6, 1 - 1e-6),
        "categories": st.dictionaries(names, rules),
        "on_error": st.sampled_from(["closed", "open"]),
    }
)
policies = st.builds(lambda one, two: policy(input=one, output=two), stages, stages)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Of both stages, sometimes unread."""
    found = {name: draw(st.dictionaries(names, scores, min_size=1)) for name in ("input", "output")}
    unread = draw(st.sampled_from([(), (), (), (), (), ("output",), ("input",)]))
    return Reading("1", found, unread)  # type: ignore[arg-type]


def drawn_from(shift: float, n: int, seed: int) -> list[Reading]:
    """Readings whose logits are normal."""
    rng = np.random.default_rng(seed)
    return [reading(logistic(one), str(place)) for place, one in enumerate(rng.normal(shift, 1, n))]
