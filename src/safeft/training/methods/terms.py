"""What the trainer shows a method that works during training, and what it expects back.

A step is one update of the optimizer. Its rows come in micro-batches, on one or more processes;
each pair of these is a part. The loss of a part is scaled so that the gradients of all parts add
up to the gradient of the step, and a term must add its share by the same scale.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from safeft.data import Example
from safeft.data.masks import Encoded
from safeft.training.methods.context import Context


@dataclass(frozen=True, slots=True)
class Setup:
    """What a method may use before the first step.

    `model` is the PEFT model, its adapter as initialised, also when a run resumes; in full
    fine-tuning it is the model itself, as it was before training. `rows` are all
    that will be trained, and `encode` encodes safety rows as they were. `work` lives as long as
    the run's checkpoints: what costs much is stored there once. `batch_size` counts the rows of a
    micro-batch. Inside `autocast` the model computes in the precision of training, as it does by
    itself once training has begun. `examples` are what the rows say, in their order, and `name` is
    what the model was asked for by.
    """

    model: Any
    tokenizer: Any
    rows: Sequence[Encoded]
    encode: Callable[[Example], Encoded]
    seed: int
    work: Path
    context: Context
    batch_size: int
    autocast: Callable[[], AbstractContextManager[Any]]
    examples: Sequence[Example] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of one optimizer step, as a term sees it.

    `outputs` are the fused head's: `log_probs` and `label_mask`, both (batch, length − 1), and with
    `Term.wants_log_p` also `log_p`, (supervised tokens, vocabulary). `number` counts the steps
    done before this one, `total` those of the whole training. `safety` says that a term has put
    safety rows in the place of the task's. This is `part` of `parts`.
    """

    model: Any
    inputs: Mapping[str, Any]
    outputs: Any
    number: int
    total: int
    safety: bool
    part: int
    parts: int
    token_share: Any
    part_share: float
    step_share: float

    def over_tokens(self, values: Any) -> Any:
        """The part's share of a mean over the step's supervised tokens, from a value for each.

        `values` are zero where no label is trained: sum / num_items_in_batch, as TRL scales.
        """
        return values.sum() * self.token_share

    def over_parts(self, value: Any) -> Any:
        """A number whose sum over the parts is wanted: this part's, in the scale of its loss."""
        return value * self.part_share

    def once(self, value: Any) -> Any:
        """A number that every part computes alike and that counts once for the step."""
        return value * self.step_share


class Keeper:
    """Something that a killed run must find again to resume to the same weights."""

    def state(self) -> dict[str, Any]:
        """Tensors by name, saved with each checkpoint."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        del state

    def weights(self) -> dict[str, Any]:
        """Parameters by name that an epoch's adapter gets instead of those that are trained."""
        return {}


class Term(Keeper, ABC):
    """Called with each part's loss; returns the loss to descend."""

    #: Whether `Step.outputs.log_p` is needed, the log-probabilities over the vocabulary.
    wants_log_p: ClassVar[bool] = False

    def instead(self, number: int, parts: Sequence[int], of: int) -> list[dict[str, Any]] | None:
        """Inputs that take the place of the task's in a step, one for each of these parts."""
        del number, parts, of
        return None

    @abstractmethod
    def __call__(self, step: Step, loss: Any) -> Any:
        """The loss with this term in it: a scalar with a gradient."""


class Corrector(ABC):
    """Something that changes the gradients of a step.

    transformers clips before it calls back (`on_pre_optimizer_step`); a corrector comes before the
    clipping, so that max_grad_norm holds for what is stepped.
    """

    @abstractmethod
    def correct(self, number: int) -> None:
        """Change the trained parameters' `grad`, whole and averaged over the processes.

        `number` counts the steps done before this one.
        """
