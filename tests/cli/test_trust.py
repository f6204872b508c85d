"""Code from a model's repository runs when the user says so, under every verb that loads one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from processes import call

from cli.conftest import Job


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Transformers is told of trust, load after load, until the first tokenizer or model."""
    import transformers

    told: list[object] = []

    def load(*_: Any, trust_remote_code: object = "nothing", **__: Any) -> None:
        told.append(trust_remote_code)
        raise OSError("heard")

    for kind in ("AutoTokenizer", "AutoModelForCausalLM", "AutoConfig"):
        monkeypatch.setattr(getattr(transformers, kind), "from_pretrained", load)
    return told


@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("verb", ["train", "eval", "compare", "export", "preview"])
def test_the_option_reaches_the_loader(
    verb: str, trust: bool, heard: list[object], job: Job, tiny_adapter: Path, tmp_path: Path
) -> None:
    """And without it the answer is no."""
    output = ["--output", tmp_path / "run"]
    words = {
        "train": job.arguments(tmp_path / "run"),
        "eval": ["eval", job.model, "--judge", "keyword", *output],
        "compare": ["compare", "--recipes", "baseline", "--model", job.model, "--data", job.data],
        "export": ["export", tiny_adapter, "--model", job.model, *output],
        "preview": ["data", "preview", job.data, "--model", job.model],
    }
    # Alone: a worker would not hear of what is replaced here.
    more = [*output, "--workers", 1, "--set", "judges=[keyword]"] if verb == "compare" else []
    said = call(*words[verb], *more, *["--trust-remote-code"] * trust)
    assert said.code == 2
    assert "could not be loaded: heard" in said.err
    assert heard == [trust]
