"""A prompted guard judge on the real vLLM says what it says under Transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import SIZES

pytest.importorskip("vllm", reason="make test-engines installs vLLM and runs these")

from guarding.families import GUARDS, shipped
from guarding.lessons import LESSONS, checkpoint

from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import Stage
from safeft.records import Prompt, Response, Verdict


def judge(model: Path, path: Path, **changes: object) -> GuardJudge:
    """Qwen3Guard as it ships, with another model and engine."""
    path.write_text(json.dumps(shipped(GUARDS["qwen3guard"]) | {"model": str(model)} | changes))
    return load_guard_judge("output", Stage(judge=str(path)))


def read(one: GuardJudge) -> list[Verdict]:
    """Every lesson's verdict."""
    texts = [(kind, Prompt.of(request, request), answer) for kind, request, answer in LESSONS]
    exchanges = [Response(prompt, answer) for kind, prompt, answer in texts if kind == "exchange"]
    return one(exchanges) + one.requests([prompt for kind, prompt, _ in texts if kind == "request"])


def test_the_engine_decides_no_score_but_for_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words, categories and the first token's probability, and the same name."""
    monkeypatch.setitem(SIZES, "head_dim", 32)  # the smallest that vLLM attends with on CPUs
    model = checkpoint(GUARDS["qwen3guard"], tmp_path / "model", fitted=True)
    here = judge(model, tmp_path / "here.yaml")
    options = {"engine": "vllm", "vllm": {"max_model_len": 1024}}
    served = judge(model, tmp_path / "served.yaml", **options)
    assert served.name == here.name
    for one, other in zip(read(here), read(served), strict=True):
        assert other.label is one.label
        assert other.scores == pytest.approx(one.scores, abs=0.01)
    assert {one.unsafe for one in read(served)} == {True, False, None}
