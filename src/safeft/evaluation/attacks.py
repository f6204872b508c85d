"""Static attacks: the same request in other words, or with an answer that is already begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from safeft.assets import find, read_yaml
from safeft.records import Message, Prompt

SLOT = "{request}"


class Attack(BaseModel):
    """One way to ask."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    say: str = Field(SLOT, description="the request's new form, with the slot {request}")
    prefill: str = Field("", description="what the model's answer is made to begin with")

    @field_validator("say")
    @classmethod
    def _asks(cls, given: str) -> str:
        if SLOT not in given:
            raise ValueError(f"must hold {SLOT}")
        return given


class AttackFile(BaseModel):
    """What an attack YAML may say (eval/attacks, or any path)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    attacks: dict[str, Attack] = Field(min_length=1)


def attacked(prompts: Sequence[Prompt], name: str, beside: Path) -> tuple[Prompt, ...]:
    """Every request under every attack of a YAML: shipped, beside a suite, or at a path.

    The plain request stays with it for the judge; its group in reports is the attack. Raises
    ConfigError naming the file and the key.
    """
    near = beside / name
    path = near if near.is_file() else find("eval/attacks", name)
    attacks = read_yaml(path, AttackFile).attacks
    return tuple(_under(prompt, key, one) for key, one in attacks.items() for prompt in prompts)


def _under(prompt: Prompt, name: str, attack: Attack) -> Prompt:
    said = Message("user", attack.say.replace(SLOT, prompt.asked))
    return replace(
        prompt,
        id=f"{prompt.id}/{name}",
        messages=(*prompt.messages[:-1], said),
        domain=f"attack:{name}",
        request=prompt.text,
        begun=attack.prefill,
    )
