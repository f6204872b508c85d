"""Laws of chat templates: what is trained, and what is refused, family by family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from processes import refused

from safeft.data import Example
from safeft.data.masks import encode
from safeft.records import Message
from training.architectures import ARCHITECTURES, tokenizer_of
from training.families.laws import FAMILIES, write


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_the_answers_and_their_stop_tokens_are_trained(family: str) -> None:
    """In templates without marks, for one answer and several, with a system turn and without."""
    one = ARCHITECTURES[family]
    tokenizer = tokenizer_of(one)
    last = f"{one.before}Second.{one.stop}{one.after}"
    system = (Message("system", "Be brief."),) if one.system else ()
    turns = [Message("user", "One?"), Message("assistant", "First."), Message("user", "Two?")]
    for before in ((), system):
        long = Example((*before, *turns, Message("assistant", "Second.")), 1, "rows")
        assert trained(long, tokenizer) == f"{one.earlier}First.{one.stop}{last}"
        short = Example((*before, turns[0], Message("assistant", "Second.")), 1, "rows")
        assert trained(short, tokenizer) == last


def trained(example: Example, tokenizer: Any) -> str:
    """The trained tokens as text."""
    encoded = encode(example, tokenizer, 512)
    kept = [t for t, m in zip(encoded.ids, encoded.loss_mask, strict=True) if m]
    return str(tokenizer.decode(kept, skip_special_tokens=False))


@pytest.mark.parametrize("family", [name for name, one in ARCHITECTURES.items() if not one.system])
def test_a_system_turn_that_a_family_does_not_know_is_refused_by_its_row(
    family: str, models: dict[str, Path], tmp_path: Path
) -> None:
    """The template's own words, the file and the row; nothing is trained."""
    turns = [("user", "A?"), ("assistant", "B.")]
    lines = [[{"role": role, "content": said} for role, said in turns]] * 2
    lines[1] = [{"role": "system", "content": "Be brief."}, *lines[1]]
    write(tmp_path / "rows.jsonl", [{"messages": one} for one in lines])
    asked = ["train", "baseline", "--model", models[family], "--data", tmp_path / "rows.jsonl"]
    said = refused(*asked, "--output", tmp_path / "run")
    assert "rows.jsonl, row 2: the chat template of" in said
    assert "refuses it" in said
    assert not list(tmp_path.glob("run/adapter*"))


def test_fused_layers_are_named_when_a_recipe_targets_their_parts(
    models: dict[str, Path], rows: Path, tmp_path: Path
) -> None:
    """Phi has one layer for queries, keys and values."""
    asked = ["train", "baseline", "--model", models["phi-3"], "--data", rows / "rows.jsonl"]
    said = refused(*asked, "--output", tmp_path / "run", "--set", "lora.target_modules=[q_proj]")
    assert "matches nothing in the model" in said
    assert "qkv_proj" in said
