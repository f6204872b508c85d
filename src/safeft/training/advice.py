"""Which recipes to try first: what each needs, in the order in which they are worth trying.

The order is a judgement: what costs little and is best supported comes first. The evidence stands
in recipes/data/evidence.yaml, so that figures change without code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from safeft.assets import folder, read_yaml
from safeft.training.strict import Strict

Access = Literal["weights", "api"]
Compute = Literal["none", "some", "double"]
ACCESSES: tuple[Access, ...] = get_args(Access)
COMPUTES: tuple[Compute, ...] = get_args(Compute)
COST: dict[Compute, str] = {
    "none": "next to nothing beyond plain fine-tuning",
    "some": "a generation pass, or some steps more",
    "double": "a second forward pass with each step",
}
NAMED = 2  # recipes to try first


@dataclass(frozen=True, slots=True)
class Situation:
    """What somebody has.

    `pair` is a base model beside the aligned one; `trained` an adapter that is there already;
    `compute` the most that may be spent beyond plain fine-tuning.
    """

    access: Access = "weights"
    trained: bool = False
    pair: bool = False
    safety_data: bool = True
    compute: Compute = "some"

    def __str__(self) -> str:
        """In words."""
        return "; ".join(
            (
                "the weights" if self.access == "weights" else "an API",
                "an adapter that is trained already" if self.trained else "nothing trained yet",
                "a base model of the aligned one" if self.pair else "no base model",
                "safety data" if self.safety_data else "no safety data",
                f"compute for {COST[self.compute]}",
            )
        )


@dataclass(frozen=True, slots=True)
class Option:
    """A recipe, and what it needs. `after` says whether it works on an adapter that is trained.

    `settings` are overrides with which it was measured, where the shipped recipe was worse.
    """

    recipe: str
    slot: str
    does: str
    compute: Compute = "none"
    before: bool = True
    after: bool = False
    api: bool = False
    pair: bool = False
    safety_data: bool = False
    settings: tuple[str, ...] = ()

    def fits(self, have: Situation) -> bool:
        """Whether everything that it needs is there."""
        return (
            (self.after if have.trained else self.before)
            and (self.api or have.access == "weights")
            and (have.pair or not self.pair)
            and (have.safety_data or not self.safety_data)
            and COMPUTES.index(self.compute) <= COMPUTES.index(have.compute)
        )

    @property
    def needs(self) -> str:
        """In words, the cost apart."""
        found = {
            "a base model": self.pair,
            "safety data": self.safety_data,
            "the weights": not self.api,
        }
        return ", ".join(name for name, wanted in found.items() if wanted) or "nothing"

    @property
    def when(self) -> str:
        """In words."""
        if self.before and self.after:
            return "before or after training"
        return "before training" if self.before else "after training"


OPTIONS = (
    Option(
        "constrained",
        "loss",
        "holds the first tokens of answers near the aligned model's",
        compute="some",
    ),
    Option(
        "safety_mix",
        "data",
        "mixes a few refused harmful prompts and answered look-alikes into the data",
        api=True,
        safety_data=True,
    ),
    Option(
        "self_generated",
        "data",
        "trains on the model's own answers to half of the prompts; check that it still learns",
        compute="some",
        api=True,
        settings=("methods.0.reference_share=0.5",),
    ),
    Option(
        "scale",
        "weights",
        "scales the adapter down until refusals return; the free baseline",
        after=True,
    ),
    Option(
        "realign",
        "weights",
        "tunes the adapter a little further, on safety data",
        compute="some",
        before=False,
        after=True,
        safety_data=True,
    ),
    Option(
        "safe_lora",
        "weights",
        "filters the layers whose update leaves the direction of alignment",
        before=False,
        after=True,
        pair=True,
    ),
    Option(
        "safe_merge",
        "weights",
        "merges such layers with a safety adapter instead",
        compute="some",
        before=False,
        after=True,
        pair=True,
        safety_data=True,
    ),
    Option(
        "lisa",
        "loss",
        "alternates blocks of task and safety steps, tied together",
        compute="some",
        safety_data=True,
    ),
    Option(
        "kl_anchor",
        "loss",
        "keeps the distribution of answers near the aligned model's",
        compute="double",
    ),
    Option(
        "replay",
        "loss",
        "keeps the logits of a small safety buffer",
        compute="double",
        safety_data=True,
    ),
    Option(
        "star_dss",
        "loss",
        "learns what a guard calls safe, and stays the aligned model's elsewhere",
        compute="double",
    ),
    Option(
        "asft_subspace",
        "loss",
        "holds the update inside the subspace of what alignment changed",
        compute="some",
        pair=True,
    ),
    Option(
        "safegrad",
        "optimizer",
        "takes out of each step what works against a small safety batch",
        compute="double",
        safety_data=True,
    ),
    Option("ema", "optimizer", "keeps the running mean of the weights"),
    Option("conservative", "optimizer", "a smaller learning rate, larger batches, fewer steps"),
    Option(
        "freeze_layers",
        "model",
        "leaves the layers that tell harmful requests from others as they are",
        safety_data=True,
    ),
    Option("lookahead", "data", "shows the beginning of the answer in the request", api=True),
    Option(
        "self_replay",
        "data",
        "mixes in safety rows that the model wrote itself and a guard cleared",
        compute="some",
        api=True,
    ),
    Option(
        "resta",
        "weights",
        "subtracts what an adapter tuned on harmful answers has learnt",
        compute="some",
        before=False,
        after=True,
        safety_data=True,
    ),
    Option(
        "ptst",
        "inference",
        "says a safety prompt when serving that training lacked",
        after=True,
        api=True,
    ),
)
"""In the order in which they are worth trying."""


class Evidence(Strict):
    """What is known of a recipe: our own figures, if there are any, and what its paper claims."""

    claimed: str
    source: str
    measured: str = ""

    def __str__(self) -> str:
        """In one line; without figures of ours it says so."""
        ours = self.measured or "not measured by us"
        return f"{ours}. Claimed ({self.source}): {self.claimed}"


class EvidenceFile(Strict):
    """What the table's file may say."""

    recipes: dict[str, Evidence]


@cache
def evidence() -> dict[str, Evidence]:
    """What is known, by recipe. Raises ConfigError naming the key when the table is broken."""
    return read_yaml(folder("recipes") / "data" / "evidence.yaml", EvidenceFile).recipes


def recommended(have: Situation) -> tuple[Option, ...]:
    """The two to try first.

    Where fewer than two can mend a trained model, what it takes to train it again comes next.
    """
    again = Situation(have.access, False, have.pair, have.safety_data, have.compute)
    return tuple(dict.fromkeys([*_fitting(have), *_fitting(again)]))[:NAMED]


def _fitting(have: Situation) -> Sequence[Option]:
    return [one for one in OPTIONS if one.fits(have)]
