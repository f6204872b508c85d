"""A policy: which judge reads what a model answers, when it withholds, and what is said instead."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from safeft.assets import find, read_yaml

OnError = Literal["closed", "open"]


class Policy(BaseModel):
    """One YAML file of `guardrails/`; unknown keys and converted types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1, description="how reports call this policy")
    judge: Literal["encoder-guard"] = Field(description="what reads each response")
    threshold: float = Field(
        ge=0, le=1, allow_inf_nan=False, description="withheld when P(unsafe) reaches it"
    )
    on_error: OnError = Field(
        "closed", description="when the judge fails: closed withholds, open releases"
    )
    refusal: str = Field(min_length=1, description="what the user reads instead")


def load_policy(name_or_path: str | Path) -> Policy:
    """The shipped policy of that name, or the policy in a YAML file.

    Raises ConfigError naming the file and the key.
    """
    return read_yaml(find("guardrails", str(name_or_path)), Policy)
