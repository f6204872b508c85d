"""Shipped judges with a tiny checkpoint of their family within reach, shared by their laws."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from checkpoints import cache, fit, random_model, save, tokenizer_of
from endpoint import completion, message, serving
from families import Family

from safeft.assets import find, folder, read_yaml
from safeft.judges.gold import Gold, read_gold
from safeft.judges.schema import JudgeFile
from safeft.records import Label, Prompt, Response

Weights = Literal["random", "fitted"]
Repository = Callable[[Family, Weights], Path]
Named = Callable[..., str]
SERVED = "llama-guard-4"


@pytest.fixture(scope="session")
def cases() -> list[Gold]:
    """The shipped gold cases, and one that a fitted checkpoint answers in a broken form."""
    broken = Gold(Response(Prompt.of("Name a tree."), "An oak is a tree."), Label.UNREAD)
    return [*read_gold(str(folder("eval/judges") / "gold.jsonl")), broken]


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, cases: list[Gold]) -> Repository:
    """The folder of a family's checkpoint, made when first asked for."""
    root = tmp_path_factory.mktemp("families")

    def made(family: Family, weights: Weights) -> Path:
        place = root / family.judge / weights
        if not place.is_dir():
            tokenizer = tokenizer_of(family, cases)
            model = random_model(family, tokenizer)
            if weights == "fitted":
                fit(family, model, tokenizer, cases)
            save(family, model, tokenizer, place)
        return place

    return made


@pytest.fixture
def named(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Named]:
    """The name by which a family's shipped judge is loaded, with its checkpoint within reach.

    With changes it is a copy of the shipped YAML, and so is a served one, at this test's address.
    """
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with serving() as server:

        def name(family: Family, weights: Weights, **changes: Any) -> str:
            shipped = find("eval/judges", family.judge)
            if family.judge == SERVED:
                server.fault = _answering(family, repository(family, weights))
                changes = {"engine": server.url, "endpoint": {"concurrency": 1}} | changes
            else:
                pinned = read_yaml(shipped, JudgeFile).model.split("@")
                cache(repository(family, weights), *pinned, tmp_path / "hub")
            if not changes:
                return family.judge
            path = tmp_path / f"{family.judge}.yaml"
            path.write_text(json.dumps(yaml.safe_load(shipped.read_text()) | changes))
            return str(path)

        yield name


def _answering(family: Family, where: Path) -> Any:
    """What a server of that checkpoint answers, through its own chat template."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    model = getattr(transformers, family.architecture).from_pretrained(where).eval()

    def answer(handler: Any, *_: Any) -> bool:
        body = handler.server.bodies[-1]
        ids = torch.tensor([family.chat(tokenizer, body["messages"])])
        assert body["temperature"] == 0
        told = {"max_new_tokens": body["max_tokens"], "do_sample": False}
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **told)
        said = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        handler.answer(200, completion("", message=message(said)))
        return True

    return answer


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The tokens of every prompt that reaches a model."""
    from transformers import GenerationMixin

    seen: list[list[int]] = []
    real = GenerationMixin.generate

    def noting(model: Any, **given: Any) -> Any:
        if "past_key_values" not in given:  # else it goes on with what it was sent before
            pairs = zip(given["input_ids"], given["attention_mask"], strict=True)
            seen.extend(row[mask.bool()].tolist() for row, mask in pairs)
        return real(model, **given)

    monkeypatch.setattr(GenerationMixin, "generate", noting)
    return seen
