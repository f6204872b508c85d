"""Laws of the steps: terms enter TRL's loss exactly, and plain is plain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from safeft.training.methods import LossMethod, Method, Setup, Step, Term
from safeft.training.methods.constrained import Constrained
from safeft.training.methods.ema import Ema
from safeft.training.methods.kl_anchor import KLAnchor
from safeft.training.methods.lisa import Lisa
from safeft.training.methods.replay import Replay
from safeft.training.methods.star_dss import StarDss
from training.conftest import Taken, alike, take

TERMS: list[Method] = [
    Constrained(name="constrained"),
    Constrained(name="constrained", reference="each_step"),
    KLAnchor(name="kl_anchor", weight=2.0),
    KLAnchor(name="kl_anchor", on="safety", weight=2.0, rows=4, batch=6),
    Replay(name="replay", weight=2.0, rows=4, batch=6),
    StarDss(name="star_dss", every=3),
    Lisa(name="lisa", rho=3.0, free_share=0.0, rows=4),
    Lisa(name="lisa", safety_steps=1, task_steps=1, rho=3.0, free_share=0.0, rows=4),
]


def called(method: Method) -> str:
    """The name under which a term's test runs."""
    keys = ("on", "reference", "task_steps")
    return "-".join([method.name, *(str(getattr(method, key, "")) for key in keys)]).strip("-")


@pytest.mark.parametrize("method", TERMS, ids=called)
@pytest.mark.parametrize("number", [0, 1])
def test_eight_rows_are_four_times_two(
    fit: Callable[..., Any], method: Method, number: int
) -> None:
    """Loss and gradients of a step do not depend on the micro-batches it is cut into."""
    whole = fit(method, per_device_train_batch_size=8, work="whole")
    parts = fit(method, per_device_train_batch_size=2, gradient_accumulation_steps=4, work="parts")
    one, other = (take(trainer, noise=0.05, number=number) for trainer in (whole, parts))
    alike(one, other)


@pytest.mark.parametrize("method", TERMS[:6], ids=called)
def test_a_term_changes_the_loss_once_the_weights_have_moved(
    fit: Callable[..., Any], method: Method
) -> None:
    """A term that is always zero would pass every law about zero."""
    plain, termed = take(fit(work="plain"), noise=0.05), take(fit(method), noise=0.05)
    assert abs(float(plain.loss - termed.loss)) > 1e-4


def test_without_a_working_method_it_is_trls_own_class(fit: Callable[..., Any]) -> None:
    """The baseline costs and computes what TRL does."""
    from trl import SFTTrainer

    assert type(fit()) is SFTTrainer
    assert type(fit(Ema(name="ema"), work="other")) is not SFTTrainer


class Doubled(LossMethod):
    """A term whose effect is known: the loss of every token twice."""

    name: Literal["doubled"]

    def term(self, setup: Setup) -> Term:
        """Adds the loss of the step's tokens once more, in the scale of its loss."""
        del setup

        class Again(Term):
            def __call__(self, step: Step, loss: Any) -> Any:
                return loss + step.over_tokens(-step.outputs.log_probs)

        return Again()


class Constant(LossMethod):
    """A term that adds a number to the step, as every part computes it or as a sum of parts."""

    name: Literal["constant"]
    summed: bool

    def term(self, setup: Setup) -> Term:
        """Adds 1 to the step."""
        del setup
        summed = self.summed

        class One(Term):
            def __call__(self, step: Step, loss: Any) -> Any:
                return loss + (step.over_parts(1 / step.parts) if summed else step.once(1.0))

        return One()


@pytest.mark.parametrize("micros", [1, 2])
def test_the_scales_are_those_of_trls_loss(fit: Callable[..., Any], micros: int) -> None:
    """Over tokens: as TRL's; once and over parts: a whole over the step."""
    cut = {"per_device_train_batch_size": 8 // micros, "gradient_accumulation_steps": micros}
    plain = take(fit(work="plain", **cut), noise=0.05)
    twice = take(fit(Doubled(name="doubled"), work="twice", **cut), noise=0.05)
    alike(twice, Taken(2 * plain.loss, {name: 2 * g for name, g in plain.gradients.items()}))
    for summed in (True, False):
        method = Constant(name="constant", summed=summed)
        more = take(fit(method, work=f"more-{summed}", **cut), noise=0.05)
        alike(more, Taken(plain.loss + 1, plain.gradients))


def test_terms_act_in_the_recipes_order(fit: Callable[..., Any]) -> None:
    """Each sees the loss that those before it have made."""
    seen: list[str] = []

    class Told(LossMethod):
        def term(self, setup: Setup) -> Term:
            del setup
            name = self.name

            class Says(Term):
                def __call__(self, step: Step, loss: Any) -> Any:
                    del step
                    seen.append(name)
                    return loss

            return Says()

    take(fit(Told(name="second"), Told(name="first"), per_device_train_batch_size=8))
    assert seen == ["second", "first"]


def test_log_probabilities_over_the_vocabulary_agree_with_the_fused_head(
    fit: Callable[..., Any],
) -> None:
    """The same loss, entropy and accuracy, whichever way the head is computed."""
    import torch

    from safeft.training.stepping import with_log_p

    trainer = fit()
    trainer.model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    arguments = {**batch, "use_cache": False, "fused_lm_head": True}
    with torch.no_grad():
        fused, plain = trainer.model(**arguments), with_log_p(trainer.model, arguments)
    assert torch.equal(fused.label_mask, plain.label_mask)
    for name in ("log_probs", "entropy", "is_top1"):
        one, other = getattr(fused, name).float(), getattr(plain, name).float()
        assert torch.allclose(one, other, atol=1e-5), name
    assert plain.log_p.shape == (int(fused.label_mask.sum()), 300)


def test_the_documented_method_works(fit: Callable[..., Any]) -> None:
    """What docs/recipes.md shows adds its share of the entropy, with a gradient."""
    text = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    names: dict[str, Any] = {"__name__": "theirs"}
    code = text.partition("```python\n")[2].partition("```")[0]
    exec(compile(code, "recipes.md", "exec", dont_inherit=True), names)
    whole = {"per_device_train_batch_size": 8}
    plain = take(fit(work="plain", **whole), noise=0.05)
    trainer = fit(names["Confident"](name="confident", weight=0.5), **whole)
    theirs = take(trainer, noise=0.05)
    batch = next(iter(trainer.get_train_dataloader()))
    seen = trainer.model(**batch, fused_lm_head=True)
    mean = float((seen.entropy.sum() / seen.label_mask.sum()).detach())
    assert float(theirs.loss - plain.loss) == pytest.approx(0.5 * mean, rel=1e-4)
    assert any(not one.equal(theirs.gradients[name]) for name, one in plain.gradients.items())
