"""TRL's SFTTrainer with the recipe's terms in the loss of every micro-batch.

TRL's fused head never builds the logits, and its loss is the sum over supervised tokens divided by
their number in the whole step. The terms are added to that loss, on the outputs of the same
forward pass.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from safeft.training.kept import save_kept
from safeft.training.methods.terms import Corrector, Keeper, Step, Term


@cache
def stepping_trainer() -> Any:
    """The class; made on first use, as TRL takes seconds to import."""
    from trl import SFTTrainer

    return type("SteppingTrainer", (Stepping, SFTTrainer), {})


class Stepping:
    """What stands before SFTTrainer.

    `terms` change the loss, `correctors` the gradients of a step, `keepers` survive a kill.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.terms: dict[str, Term] = {}
        self.correctors: dict[str, Corrector] = {}
        self.keepers: dict[str, Keeper] = {}
        self._micro, self._safety = 0, False

    def get_batch_samples(self: Any, iterator: Any, batches: int, device: Any) -> Any:
        """The micro-batches of a step, or the safety rows that a term puts in their place."""
        theirs: Any = super()
        samples, items = theirs.get_batch_samples(iterator, batches, device)
        self._micro, self._safety = 0, False
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        parts = [world * micro + rank for micro in range(len(samples))]
        for term in self.terms.values():
            put = term.instead(self.state.global_step, parts, world * len(samples))
            if put is not None:
                samples, self._safety = put, True
                items = self._get_num_items_in_batch(samples, device)
        return samples, items

    def training_step(self: Any, *arguments: Any, **named: Any) -> Any:
        """A micro-batch; after the last one of a step, its gradients are corrected."""
        theirs: Any = super()
        loss = theirs.training_step(*arguments, **named)
        if self.accelerator.sync_gradients:
            for corrector in self.correctors.values():
                corrector.correct(self.state.global_step)
        return loss

    def compute_loss(
        self: Any,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """TRL's loss with the terms, which see the outputs that TRL computed it from."""
        theirs: Any = super()
        if not self.terms or not self.model.training:
            return theirs.compute_loss(model, inputs, return_outputs, num_items_in_batch)
        seen: list[Any] = []

        def watched(**arguments: Any) -> Any:
            wanted = any(term.wants_log_p for term in self.terms.values())
            seen.append(with_log_p(model, arguments) if wanted else model(**arguments))
            return seen[-1]

        loss = theirs.compute_loss(watched, inputs, num_items_in_batch=num_items_in_batch)
        step = self._step(model, inputs, seen[-1], num_items_in_batch)
        for term in self.terms.values():
            loss = term(step, loss)
        self._micro += 1
        return loss

    def _step(self: Any, model: Any, inputs: Any, outputs: Any, items: Any) -> Step:
        import torch

        world, micros = self.accelerator.num_processes, self.current_gradient_accumulation_steps
        # Where the loss is a mean over the micro-batch, the trainer divides it by their number.
        later = micros if items is None or not self.model_accepts_loss_kwargs else 1
        counted = torch.as_tensor(outputs.label_mask.sum() if items is None else items)
        averaged = items is not None and self.args.average_tokens_across_devices
        return Step(
            model=model,
            inputs=inputs,
            outputs=outputs,
            number=self.state.global_step,
            total=self.state.max_steps,
            safety=self._safety,
            part=world * self._micro + self.accelerator.process_index,
            parts=world * micros,
            token_share=(world if averaged else 1) / counted.clamp(min=1),
            part_share=float(world * later),
            step_share=later / micros,
        )

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        if self.args.should_save:
            checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            save_kept(checkpoint, self.keepers, self.model)
        theirs: Any = super()
        theirs._save_checkpoint(model, trial)


def with_log_p(model: Any, arguments: dict[str, Any]) -> Any:
    """What the fused head gives, from the model's own logits, and `log_p` over the vocabulary.

    `log_p` is (supervised tokens, vocabulary) in float32. It costs the memory that the fused head
    saves, but no second forward pass.
    """
    ours = ("labels", "fused_lm_head")
    plain = {key: value for key, value in arguments.items() if key not in ours}
    outputs = model(**plain)
    labels = arguments["labels"][:, 1:]
    mask = labels != -100
    log_p = outputs.logits[:, :-1][mask].float().log_softmax(-1)
    chosen = log_p.gather(-1, labels[mask].unsqueeze(-1)).squeeze(-1)
    known = log_p.detach()
    return SimpleNamespace(
        log_probs=_spread(chosen, mask),
        entropy=_spread(-(known.exp() * known).sum(-1), mask),
        is_top1=_spread((known.argmax(-1) == labels[mask]).to(known.dtype), mask),
        label_mask=mask,
        aux_loss=getattr(outputs, "aux_loss", None),
        log_p=log_p,
    )


def _spread(values: Any, mask: Any) -> Any:
    """Values of the supervised tokens in their places, zero elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
