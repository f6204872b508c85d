"""Guarding: a policy and its judges around any model, so that only cleared text leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any, overload

from safeft.errors import ConfigError
from safeft.generation.generator import Generator
from safeft.guarding.guarded import Guarded
from safeft.guarding.policy import Policy, load_policy
from safeft.guarding.releasing import Watch

__all__ = ["Guarded", "Policy", "guard", "load_policy"]


@overload
def guard(
    model: Generator, policy: str | Path | Policy = ..., *, watch: Watch | None = ...
) -> Guarded:
    """A generator."""


@overload
def guard(
    model: Any,
    policy: str | Path | Policy = ...,
    *,
    tokenizer: Any = ...,
    watch: Watch | None = ...,
) -> Any:
    """A Transformers model or a `vllm.LLM`."""


def guard(
    model: Any,
    policy: str | Path | Policy = "default",
    *,
    tokenizer: Any = None,
    watch: Watch | None = None,
) -> Any:
    """`model` behind a policy: a shipped name, the path of a YAML file, or a Policy.

    A generator becomes a generator; a Transformers or PEFT model and a `vllm.LLM` go on behaving
    as they do. `tokenizer` is a Transformers model's, where it does not lie beside its weights.
    `watch` is told each decision and the text that it is about. Raises ConfigError for the policy
    or for a model that cannot be guarded, StoredError or ModelError for a judge's weights.
    """
    from safeft.guarding.loading import checker

    kinds = {one.__module__.partition(".")[0] for one in type(model).__mro__}
    if tokenizer is not None and not kinds & {"transformers", "peft"}:
        raise ConfigError("guard: `tokenizer` belongs to a Transformers model; leave it out")
    if kinds & {"transformers", "peft"}:
        from safeft.guarding.huggingface import GuardedModel

        return GuardedModel(model, checker(policy), tokenizer, watch)
    if "vllm" in kinds:
        from safeft.guarding.in_vllm import GuardedLLM

        return GuardedLLM(model, checker(policy), watch)
    if not callable(model) or not hasattr(model, "engine"):
        raise ConfigError(
            f"guard: {type(model).__name__} is no generator, no Transformers model and no vllm.LLM"
        )
    return Guarded(model, checker(policy), watch)
