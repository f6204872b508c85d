"""The vLLM engine behind a comparison: one for the model and all adapters that it can serve."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from safeft.comparison.cells import Plan, identity_of
from safeft.generation import Generator
from safeft.generation.vllm import VllmEngine, VllmGenerator, rank_of, unservable
from safeft.models import default_precision
from safeft.models.export import export
from safeft.runs import fingerprint
from safeft.training import folder_identity

_LOG = logging.getLogger("safeft")


def served(plan: Plan, adapters: Sequence[Path]) -> Generator:
    """The model with an adapter, in the one engine that runs.

    What multi-LoRA cannot serve is merged into a folder beside it, and served by an engine of its
    own, in the place of the one before.
    """
    model = plan.matrix.checkpoint or plan.matrix.model
    if not adapters:
        return VllmGenerator(_engine(model, _rank(plan), _options(plan)))
    (adapter,) = adapters
    if reason := _unserved(plan, adapter):
        merged = _merged(plan, adapter, reason)
        return VllmGenerator(_engine(str(merged), 0, _options(plan)))
    rank = max(_rank(plan), rank_of(adapter))
    return VllmGenerator(_engine(model, rank, _options(plan)), adapter)


def _unserved(plan: Plan, adapter: Path) -> str:
    """Why an adapter is merged; empty when it is served beside the model."""
    return unservable(adapter) or ("merged: true" if plan.matrix.merged else "")


def _rank(plan: Plan) -> int:
    """The largest rank that any adapter of the comparison will have; 0 without adapters."""
    given = [Path(path) for paths in plan.matrix.adapters.values() for path in paths]
    ranks = [rank_of(path) for path in given if not unservable(path)]
    recipes = [cell.recipe for cell in plan.cells if cell.recipe]
    ranks += [int(one.lora.get("r", 8)) for one in recipes if one.lora is not None]
    return max(ranks, default=0)


def _options(plan: Plan) -> str:
    matrix = plan.matrix
    return json.dumps([plan.trust_remote_code, matrix.chat_template, matrix.vllm], sort_keys=True)


def _merged(plan: Plan, adapter: Path, reason: str) -> Path:
    folder = _place(plan, adapter)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _LOG.warning("%s is merged, and served by an engine of its own: %s", adapter, reason)
        trust = plan.trust_remote_code
        export(
            plan.matrix.checkpoint or plan.matrix.model,
            adapter,
            folder,
            merge=True,
            precision=None,
            trust_remote_code=trust,
        )
    return folder


def _place(plan: Plan, adapter: Path) -> Path:
    """In the run, under what it is made of: another base or adapter is another folder."""
    made_of = [identity_of(plan.matrix), folder_identity(adapter), default_precision()]
    made_of += [plan.matrix.checkpoint] if plan.matrix.checkpoint else []
    return plan.store.parent / "merged" / fingerprint(made_of)[:16]


def discard(plan: Plan, adapter: Path) -> None:
    """Delete what was merged of an adapter; a run that is killed before finds it again."""
    if _unserved(plan, adapter):
        shutil.rmtree(_place(plan, adapter), ignore_errors=True)


@lru_cache(1)
def _engine(model: str, rank: int, options: str) -> VllmEngine:
    for engine in _RUNNING:
        engine.close()
    trust, template, more = json.loads(options)
    ranks = [rank] if rank else []
    engine = VllmEngine(model, ranks, chat_template=template, trust_remote_code=trust, options=more)
    _RUNNING[:] = [engine]
    return engine


_RUNNING: list[VllmEngine] = []
