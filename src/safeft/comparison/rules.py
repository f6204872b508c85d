"""What makes no sense is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

from safeft.comparison.cells import Plan
from safeft.errors import ConfigError, ModelError
from safeft.guarding import load_policy
from safeft.judges import load_judge
from safeft.models import load_tokenizer


def check(plan: Plan) -> None:
    """Raises ConfigError for unknown judges or policies and for a guard that would grade itself.

    Raises ModelError for a model without a chat template, and for adapters that are not there.
    """
    graders = {name: load_judge(name).name for name in plan.matrix.judges}
    for name in plan.matrix.policies:
        policy = load_policy(name)
        for judge, identity in graders.items():
            if policy.judge in (judge, identity):
                raise ConfigError(
                    f"policy {name!r} guards with {policy.judge!r}, which also grades: it would score "
                    "itself; choose another judge for one of them"
                )
    for name, paths in plan.matrix.adapters.items():
        for path in paths:
            if not (Path(path) / "adapter_config.json").is_file():
                raise ModelError(f"adapters.{name}: {path} holds no adapter_config.json")
    load_tokenizer(plan.matrix.model)
