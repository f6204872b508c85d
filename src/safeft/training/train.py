"""Recipe → adapter: data methods, TRL's trainer with PEFT, one adapter for each epoch."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from safeft.data import Example
from safeft.data.formats import fingerprint as data_fingerprint
from safeft.data.masks import Encoded, encode, summary
from safeft.data.sets import to_tokens
from safeft.errors import DataError
from safeft.models import load_tokenizer
from safeft.runs import disk_watched, open_run, read_json, write_json
from safeft.training import ranks
from safeft.training.arguments import check_arguments
from safeft.training.collecting import checkpoints, collect
from safeft.training.cost import Meter
from safeft.training.identity import model_identity
from safeft.training.methods import Context, DataMethod, Guards, Setup
from safeft.training.schema import Recipe
from safeft.training.targets import check_targets
from safeft.training.trainer import build, close_bars, resume
from safeft.training.writers import generator_of, weights_of, written_by

logger = logging.getLogger("safeft")


@dataclass(frozen=True, slots=True)
class Trained:
    """What training leaves: one adapter folder per epoch, in order, and the run's facts."""

    adapters: tuple[Path, ...]
    facts: dict[str, Any]


def train(
    recipe: Recipe,
    *,
    model: str,
    examples: Sequence[Example],
    seed: int,
    output: Path,
    store: Path | None = None,
    quiet: bool = False,
    trust_remote_code: bool = False,
    guards: Guards | None = None,
) -> Trained:
    """Fine-tune `model` on `examples` by the recipe into `output`.

    A finished output is returned as it is; an interrupted one goes on from its last checkpoint to
    the same weights. `store` is where generated training text is kept (and shared between runs),
    `guards` loads the judge of a method that asks a guard (`guarding.catalogue.output_judge`).
    Raises DataError, ConfigError or ModelError for what the user can fix, RunError for another run.
    """
    identity = _identity(recipe, model, examples, seed)
    check_arguments(recipe)
    if _is_finished(output):
        return _reopened(output, identity)
    with ranks.held(output), disk_watched(output):
        with ranks.leader_first():
            open_run(output, identity)
        if not (output / "cost.json").is_file():
            asked = (recipe, model, identity["model_hash"], store or output, trust_remote_code)
            _tune((*asked, guards), examples, identity, output, quiet)
            ranks.wait()
        if ranks.leads():
            # Optimizer states, only needed to resume; a kill may have left them here.
            shutil.rmtree(output / "checkpoints", ignore_errors=True)
        return finished(output)


def _tune(
    asked: tuple[Recipe, str, str, Path, bool, Guards | None],
    examples: Sequence[Example],
    identity: dict[str, Any],
    output: Path,
    quiet: bool,
) -> None:
    """Prepare the rows, train to the end, and collect the adapters; `asked` is a context's."""
    recipe, model, _, _, trust, _ = asked
    tokenizer = load_tokenizer(model, trust_remote_code=trust)
    check_targets(recipe, model, trust_remote_code=trust)
    with ranks.leader_first():
        # In a context of its own: the weights that wrote are gone before those to train load.
        prepared, notes, spent = _prepare(examples, recipe, _context(*asked))
    weights = weights_of(recipe, model, trust)
    cut = _longest(recipe, weights)
    encode_one = partial(encode, tokenizer=tokenizer, max_length=cut)
    encoded = [encode_one(one) for one in prepared]
    facts = {"methods": notes, "rows": _counted(recipe, prepared, encoded, cut), **identity}
    told = {"tokenizer": tokenizer, "encode": encode_one, "name": model}
    told["context"] = _context(*asked)
    rows = zip(prepared, encoded, strict=True)
    usable = [(example, row) for example, row in rows if not _masked(row)]
    _fit(recipe, weights, usable, identity["seed"], output, quiet, told)
    del weights  # an edit may load them again
    if ranks.leads():
        collect(output, facts, model, recipe, spent, told["context"])


def _reopened(output: Path, identity: dict[str, Any]) -> Trained:
    open_run(output, identity)
    return finished(output)


def _is_finished(output: Path) -> bool:
    """Whether nothing is left to do, so that several workers may read the adapters unlocked."""
    return (output / "cost.json").is_file() and not (output / "checkpoints").is_dir()


def write_ahead(
    recipe: Recipe,
    model: str,
    examples: Sequence[Example],
    store: Path,
    trust: bool = False,
    guards: Guards | None = None,
) -> None:
    """Have the recipe's methods write into `store` what training will read from there."""
    asked = (recipe, model, model_identity(model), store, trust, guards)
    _prepare(examples, recipe, _context(*asked))


def finished(output: Path) -> Trained:
    """The adapters and facts of a finished training."""
    adapters = sorted(output.glob("adapter/epoch-*"), key=lambda path: int(path.name[6:]))
    facts = read_json(output / "train.json") | {"cost": read_json(output / "cost.json")}
    return Trained(tuple(adapters), facts)


def _identity(recipe: Recipe, model: str, examples: Sequence[Example], seed: int) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "model": model,
        "model_hash": model_identity(model),
        "data_fingerprint": data_fingerprint(examples),
        "seed": seed,
    }


def _prepare(
    examples: Sequence[Example], recipe: Recipe, context: Context
) -> tuple[Sequence[Example], dict[str, Any], dict[str, float]]:
    """The examples after every data method, the methods' notes, and what their texts cost."""
    notes: dict[str, Any] = {}
    for method in recipe.methods:
        method.ahead(context)
        if isinstance(method, DataMethod):
            applied = method.apply(examples, context)
            examples, notes[method.name] = applied.examples, applied.notes
            logger.info("%s: %s", method.name, applied.notes)
    return examples, notes, context.spent


def _context(
    recipe: Recipe, model: str, identity: str, store: Path, trust: bool, guards: Guards | None
) -> Context:
    return Context(
        written_by(recipe, identity),
        cache(lambda: generator_of(recipe, model, trust)),
        store,
        tokenizer=cache(lambda: load_tokenizer(model, trust_remote_code=trust)),
        guards=guards,
        weights=lambda: weights_of(recipe, model, trust),
    )


def _longest(recipe: Recipe, weights: Any) -> int:
    """Where rows are cut: at max_length, or at the model's context when that is shorter."""
    context = getattr(weights.config, "max_position_embeddings", None) or recipe.max_length
    return min(recipe.max_length, int(context))


def _counted(
    recipe: Recipe, examples: Sequence[Example], encoded: Sequence[Encoded], cut: int
) -> dict[str, int]:
    """Counts of rows and tokens; DataError when nothing at all would be trained."""
    counts = summary(encoded)
    logger.info("data: %s", counts)
    if counts.truncated and cut < recipe.max_length:
        logger.warning(
            "%d rows are cut at %d tokens, the model's context: max_length %d exceeds it",
            counts.truncated,
            cut,
            recipe.max_length,
        )
    if counts.fully_masked == counts.rows:
        raise DataError(
            f"all {counts.rows} rows are fully masked: no answer begins within {cut} tokens; raise "
            "max_length, or shorten the prompts when the model's context is what cuts them"
        )
    if counts.fully_masked:
        logger.warning(
            "%d rows are fully masked, the first is %s: no answer begins within %d tokens",
            counts.fully_masked,
            next(one.place for one, row in zip(examples, encoded, strict=True) if _masked(row)),
            cut,
        )
    return asdict(counts)


def _masked(row: Encoded) -> bool:
    return not any(row.loss_mask)


def _fit(
    recipe: Recipe,
    weights: Any,
    usable: Sequence[tuple[Example, Encoded]],
    seed: int,
    output: Path,
    quiet: bool,
    told: dict[str, Any],
) -> None:
    """Train to the end, from the last whole checkpoint when there is one."""
    examples, rows = [one for one, _ in usable], [row for _, row in usable]
    work = output / "checkpoints"
    meter = Meter(output / "cost.partial.json", sum(len(one.ids) for one in rows))
    trainer = build(
        recipe,
        weights,
        told["tokenizer"],
        to_tokens(rows),
        [meter.callback()],
        seed=seed,
        work=work,
        quiet=quiet,
        setup=partial(Setup, rows=rows, examples=examples, seed=seed, work=work, **told),
        context=told["context"],
    )
    found = checkpoints(work)
    try:
        resume(trainer, found[-1] if found else None)
    finally:
        close_bars(trainer)
    if ranks.leads():
        write_json(output / "log.json", [_finite(one) for one in trainer.state.log_history])


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    # A diverged loss is worth keeping, but NaN is no JSON.
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
