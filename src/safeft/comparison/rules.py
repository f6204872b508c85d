"""What makes no sense is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

from safeft.comparison.cells import Plan
from safeft.errors import ConfigError, ModelError
from safeft.guarding import EncoderGuard, load_policy
from safeft.judges import load_judge
from safeft.models import load_tokenizer


def check(plan: Plan) -> None:
    """Raises ConfigError for unknown judges or policies and for a guard that would grade itself.

    Raises ModelError for a model without a chat template, and for adapters that are not there.
    """
    kinds = list(plan.suite.kinds.values())
    if kinds.count("harm") != 1 or len(kinds) > 2 or len(set(kinds)) != len(kinds):
        raise ConfigError(
            f"suite {plan.suite.name!r}: a comparison needs one set of kind harm and at most one "
            f"of kind over_refusal, found {', '.join(kinds)}"
        )
    graders = {name: load_judge(name).name for name in plan.matrix.judges}
    for name in plan.matrix.policies:
        _refuse_self_grading(name, graders)
    for name, paths in plan.matrix.adapters.items():
        for path in paths:
            if not (Path(path) / "adapter_config.json").is_file():
                raise ModelError(f"adapters.{name}: {path} holds no adapter_config.json")
    load_tokenizer(plan.matrix.model)


def _refuse_self_grading(name: str, graders: dict[str, str]) -> None:
    """A guard is known by its weights: installed under another name it is the same judge."""
    policy = load_policy(name)
    guard = EncoderGuard(policy.threshold, policy.on_error).name
    for judge, identity in graders.items():
        if policy.judge == judge or guard == identity:
            raise ConfigError(
                f"policy {name!r} guards with {policy.judge!r}, which also grades (judge "
                f"{judge!r}): it would score itself; choose another judge for one of them"
            )
