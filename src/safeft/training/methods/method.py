"""What a method is: the mapping of a recipe's YAML, and what it does in the one slot it fills."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from safeft.data import Example
from safeft.training.edits import LoraModule
from safeft.training.methods.context import Applied, Context
from safeft.training.methods.terms import Setup, Term
from safeft.training.strict import Strict

Slot = Literal["data", "model", "loss", "optimizer", "weights", "inference"]
SLOTS: tuple[Slot, ...] = get_args(Slot)
Anchored = Literal["", "task", "safety"]
NO_PRODUCT = ("use_dora", "lora_bias", "target_parameters", "init_lora_weights")
"""LoRA's keys with which an update is not, or not only, scale · B A on a matrix of the model."""
NO_PAIR = (*NO_PRODUCT, "layer_replication")
"""Those, and the one with which a layer has another name than its weights in a checkpoint."""


class Method(Strict):
    """One method of a recipe.

    A subclass gives `name` as a Literal, by which a YAML chooses it, and says what it costs beside
    plain fine-tuning, where it was published, and what is known for and against it.
    """

    slot: ClassVar[Slot]
    cost: ClassVar[str] = "none"
    source: ClassVar[str] = ""
    evidence: ClassVar[str] = ""
    #: Whether it compares the aligned model with its base: the method's key `base` must be given.
    needs_pair: ClassVar[bool] = False

    name: str

    @property
    def stream(self) -> bool:
        """Whether it brings safety rows of its own into training."""
        return False

    @property
    def asks_guard(self) -> str:
        """The name of the guard's judge that decides what is trained, if one does.

        A comparison's judge must be another.
        """
        return ""

    @property
    def anchor(self) -> Anchored:
        """Which tokens it holds to the model before training, if any."""
        return ""

    @property
    def needs_adapter(self) -> str:
        """What it needs an adapter for, after its name, such as `edits an adapter`; else nothing.

        Full fine-tuning, which has none, is then refused: an anchor compares with the model before
        training, which an adapter switched off is.
        """
        return "compares with the model without its adapter" if self.anchor else ""

    def ahead(self, context: Context) -> None:
        """Have the model write what this method will read, before the training weights load."""
        del context

    def refuse_unfit(self, modules: Iterable[LoraModule], model: str) -> None:
        """Raises ConfigError or ModelError when it was given weights of another model than `model`.

        Asked before training; `modules` are those that will be adapted, their matrices without
        values.
        """
        del modules, model

    def added_rows(self) -> list[Example]:
        """The rows that it may add to what is trained.

        Whoever must keep an evaluation's prompts out of training asks for them. Raises DataError
        for a pool that is missing or broken.
        """
        return []


class DataMethod(Method):
    """Fills the data slot: examples in, examples out."""

    slot: ClassVar[Slot] = "data"

    #: Whether it writes the answers of all rows: then it comes before what others add or begin.
    rewrites: ClassVar[bool] = False

    @abstractmethod
    def apply(self, examples: Sequence[Example], context: Context) -> Applied:
        """The examples to train on instead, and what is worth noting. Raises DataError."""


class ModelMethod(Method):
    """Fills the model slot: changes what is adapted before training begins."""

    slot: ClassVar[Slot] = "model"

    #: Whether it keeps layers as they are, which nothing beside the adapter may then train.
    freezes: ClassVar[bool] = False

    @property
    def needs_adapter(self) -> str:
        """It chooses LoRA's arguments."""
        return "chooses where an adapter lies"

    @abstractmethod
    def adapted(
        self, lora: dict[str, Any], model: Any, context: Context | None = None
    ) -> dict[str, Any]:
        """LoRA's arguments for this model, such as with frozen layers.

        Without `context` the recipe is only checked, and `model` has no weights. With it what
        needs them is found, and stored for a run that resumes. Raises ConfigError or DataError.
        """

    def noted(self, context: Context) -> dict[str, Any]:
        """What is worth noting once the model is adapted."""
        del context
        return {}


class LossMethod(Method):
    """Fills the loss slot: a term that changes the loss of each micro-batch."""

    slot: ClassVar[Slot] = "loss"
    #: Whether a document's tokens are counted, so that documents may not be cut by packing.
    counts_documents: ClassVar[bool] = False
    #: Whether it puts safety batches in the place of task batches.
    alternates: ClassVar[bool] = False

    @abstractmethod
    def term(self, setup: Setup) -> Term:
        """What is called with the loss of each micro-batch, in the recipe's order."""


class OptimizerMethod(Method):
    """Fills the optimizer slot: a callback that acts around the optimizer's steps."""

    slot: ClassVar[Slot] = "optimizer"
    #: Whether it sets the task's gradient against that of safety rows: its callback corrects.
    corrects: ClassVar[bool] = False

    @abstractmethod
    def callback(self, setup: Setup) -> Any:
        """A transformers.TrainerCallback.

        One that is a `Keeper` as well has what it keeps saved with each checkpoint, and one that is
        a `Corrector` is shown the gradients of each step before they are clipped.
        """


class WeightEdit(Method):
    """Fills the weights slot: edits each epoch's adapter after training."""

    slot: ClassVar[Slot] = "weights"
    cost: ClassVar[str] = "after training"
    #: Whether it trains the adapter once more.
    trains: ClassVar[bool] = False
    #: LoRA's keys that make updates it does not know, such as NO_PRODUCT: refused when it is read.
    refuses: ClassVar[tuple[str, ...]] = ()

    @property
    def needs_adapter(self) -> str:
        """It reads an adapter's folder, and writes one."""
        return "edits an adapter after training"

    @abstractmethod
    def edit(
        self, adapter: Path, target: Path, model: str, context: Context | None = None
    ) -> dict[str, Any]:
        """Read the adapter's folder, write the edited one to `target`, return what to note.

        `model` is the name of the model that the adapter was trained on; `context` has what the
        model wrote ahead, for an edit that needs it.
        """


class InferenceMethod(Method):
    """Fills the inference slot: what whoever serves the adapter must do."""

    slot: ClassVar[Slot] = "inference"

    @abstractmethod
    def bundle(self) -> dict[str, Any]:
        """What `inference.json` in each adapter's folder says."""
