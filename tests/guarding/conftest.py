"""The tiny Llama behind a checker, a probe of the testbed's states, and guard models in small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judges.conftest import sent

from guarding.families import GuardFamily, shipped
from guarding.lessons import cached, checkpoint
from guarding.probing import probing, saved
from guarding.riding import MODEL
from guarding.tiny import ASKED
from safeft.guarding import probe_guard
from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.checker import Checker
from safeft.guarding.huggingface import GuardedModel
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import Stage
from safeft.guarding.probe import Probe
from safeft.guarding.probe_guard import ProbeGuard
from safeft.guarding.probe_ride import token_logits
from safeft.models import load_model, load_tokenizer
from safeft.models.files import weights_of

__all__ = ["Guarding", "Loaded", "sent"]

Guarding = Callable[[Checker], GuardedModel]
Loaded = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Any]) -> Any:
    """A random model; its answers are no words, but always the same."""
    return tiny_llama().eval()


@pytest.fixture
def guarding(model: Any, tiny_tokenizer: Any) -> Guarding:
    """The model behind a checker."""
    return lambda checker: GuardedModel(model, checker, tiny_tokenizer)


@pytest.fixture(scope="module")
def batch(tiny_tokenizer: Any) -> Any:
    """Prompts of several lengths, padded on the left."""
    return tiny_tokenizer(ASKED, padding=True, padding_side="left", return_tensors="pt")


@pytest.fixture(scope="module")
def one(tiny_tokenizer: Any) -> Any:
    """A single prompt."""
    return tiny_tokenizer(ASKED[0], return_tensors="pt")


@pytest.fixture(scope="module")
def aligned() -> tuple[Any, Any]:
    """The testbed's aligned model and its tokenizer, whose answers end by themselves."""
    return load_model(MODEL), load_tokenizer(MODEL)


@pytest.fixture(scope="module")
def probe() -> Probe:
    """A random probe of its states."""
    return probing(3, hidden_size=256, layer=2, revision=weights_of(MODEL))


@pytest.fixture
def judge(tmp_path: Path, probe: Probe) -> ProbeGuard:
    """The probe as a judge that knows no model yet."""
    return ProbeGuard(saved(tmp_path, probe))


@pytest.fixture
def forced_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read by force, since no ride had scored it."""
    texts: list[str] = []

    def counted(model: Any, probe: Probe, asked: Any) -> Any:
        texts.extend(load_tokenizer(MODEL).decode(said) for _, said in asked)
        return token_logits(model, probe, asked)

    monkeypatch.setattr(probe_guard, "token_logits", counted)
    return texts


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where checkpoints lie, made when first asked for."""
    return tmp_path_factory.mktemp("guards")


@pytest.fixture
def loaded(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """Loads a family's shipped judge as a policy's stage names it; with changes, a copy of it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def load(family: GuardFamily, *, fitted: bool = True, **changes: Any) -> GuardJudge:
        where = repositories / family.judge / ("fitted" if fitted else "random")
        cached(family, checkpoint(family, where, fitted=fitted), tmp_path / "hub")
        if not fitted:
            changes = {"max_new_tokens": 16} | changes  # prose may go on for long
        name, given = family.judge, shipped(family, brief=fitted) | changes
        if given != shipped(family):
            path = tmp_path / f"{family.judge}.yaml"
            path.write_text(json.dumps(given))
            name = str(path)
        return load_guard_judge("output", Stage(judge=name))

    return load
