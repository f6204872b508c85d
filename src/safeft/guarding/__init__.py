"""Guarding: a policy and a judge around any generator, so that only cleared text leaves."""

from __future__ import annotations

from pathlib import Path

from safeft.generation.generator import Generator
from safeft.guarding.guarded import Guarded
from safeft.guarding.head import EncoderGuard
from safeft.guarding.policy import Policy, load_policy

__all__ = ["EncoderGuard", "Guarded", "Policy", "guard", "load_policy"]


def guard(generator: Generator, policy: str | Path | Policy = "default") -> Guarded:
    """`generator` behind a policy: a shipped name, the path of a YAML file, or a Policy.

    Raises ConfigError for the policy, StoredError or ModelError for the judge's weights.
    """
    chosen = policy if isinstance(policy, Policy) else load_policy(policy)
    judge = EncoderGuard(chosen.threshold, chosen.on_error)
    return Guarded(generator, judge, chosen)
