"""A prompted judge on the real vLLM says what it says under Transformers, under the same name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from checkpoints import SIZES, fit, random_model, save, tokenizer_of
from families import FAMILIES, Family
from processes import done

pytest.importorskip("vllm", reason="make test-engines installs vLLM and runs these")

from safeft.assets import find, folder
from safeft.judges import load_judge
from safeft.judges.gold import Gold, read_gold
from safeft.records import Label, Prompt, Response

GOLD = folder("eval/judges") / "gold.jsonl"


def checkpoint(family: Family, place: Path) -> Path:
    """A tiny model of the family that has learnt the gold cases, and one answer in prose."""
    broken = Gold(Response(Prompt.of("Name a tree."), "An oak is a tree."), Label.UNREAD)
    cases = [*read_gold(str(GOLD)), broken]
    tokenizer = tokenizer_of(family, cases)
    model = random_model(family, tokenizer)
    fit(family, model, tokenizer, cases)
    return save(family, model, tokenizer, place)


def written(family: Family, model: Path, path: Path, **changes: object) -> Path:
    """The shipped judge's YAML, with another model and engine."""
    shipped = yaml.safe_load(find("eval/judges", family.judge).read_text())
    path.write_text(json.dumps(shipped | {"model": str(model)} | changes))
    return path


@pytest.mark.parametrize("name", ["harmbench", "qwen3guard"], ids=["as it is", "by its template"])
def test_the_engine_decides_no_verdict(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts as they are, or through the chat template: κ 1 with what the model has learnt."""
    monkeypatch.setitem(SIZES, "head_dim", 32)  # the smallest that vLLM attends with on CPUs
    family = FAMILIES[name]
    model = checkpoint(family, tmp_path / "model")
    options = {"engine": "vllm", "vllm": {"max_model_len": 1024}}
    served = written(family, model, tmp_path / "served.yaml", **options)
    unread = {"request": "Name a tree.", "response": "An oak is a tree.", "label": "fulfilled"}
    gold = tmp_path / "gold.jsonl"
    gold.write_text(f"{GOLD.read_text()}{json.dumps(unread)}\n")
    out = done("judge", "calibrate", served, "--gold", gold).out
    assert "κ, three ways: 1.000 [" in out and "n=12" in out
    here = load_judge(str(written(family, model, tmp_path / "here.yaml")))
    assert f"{here.name}: 1 unread" in out
