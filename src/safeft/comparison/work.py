"""The work of one cell: train it, ask it, judge it. Runs in a worker process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from safeft.comparison import capabilities
from safeft.comparison.cells import Ask, Cell, Plan
from safeft.comparison.endpoints import ask_again
from safeft.comparison.local import unloadable
from safeft.comparison.readings import BIAS_FILE
from safeft.comparison.searching import search
from safeft.comparison.serving import discard, served
from safeft.evaluation import (
    evaluate,
    held_out_loss,
    replay,
    response_file,
    rouge,
    stored,
    where,
)
from safeft.evaluation.bias import examples
from safeft.evaluation.harness import measure
from safeft.generation import Generator
from safeft.generation.endpoint import EndpointGenerator
from safeft.generation.imported import ImportedGenerator
from safeft.generation.schema import VLLM
from safeft.generation.transformers import TransformersGenerator
from safeft.guarding import Guarded, Policy, load_policy
from safeft.guarding.catalogue import output_judge
from safeft.guarding.checker import Checker
from safeft.guarding.loading import checker
from safeft.judges import Judge, load_judge
from safeft.models import export, is_whole, load_model, load_tokenizer
from safeft.records import Decoding
from safeft.runs import write_json
from safeft.training import train

MERGED = "merged"  # the folder of weights with their adapter, while a cell needs them on disk


def work(plan: Plan, cell: Cell) -> str:
    """Everything that a cell still lacks. Returns the cell's name and seed, for progress."""
    done = cell.folder / "cell.json"
    if not done.is_file():
        here = plan.under(cell.setting)
        adapters = _train(here, cell)
        for ask in plan.asks(cell):
            _evaluate(here, cell, ask, adapters)
            shutil.rmtree(cell.folder / f"epoch-{ask.epoch}" / MERGED, ignore_errors=True)
        # Before the cell counts as finished: nobody comes back to a finished one.
        for adapter in adapters if here.matrix.engine == VLLM else ():
            discard(here, adapter)
        write_json(done, describe(plan, cell))
    return f"{cell.name} seed {cell.seed}"


def train_only(plan: Plan, cell: Cell) -> str:
    """The training alone, for engines that answer for all cells in one process afterwards."""
    if not (cell.folder / "cell.json").is_file():
        here = plan.under(cell.setting)
        adapters = _train(here, cell)
        for ask in plan.asks(cell):  # no engine holds the accelerator yet
            _loss(here, cell, ask, adapters)
    return f"{cell.name} seed {cell.seed}, trained"


def ask_only(plan: Plan, share: tuple[Cell, Ask]) -> str:
    """Some decodings of one epoch, once the cell is trained; `work` finds them done."""
    cell, ask = share
    here, place = plan.under(cell.setting), cell.folder / f"epoch-{ask.epoch}"
    adapters = _train(here, cell)
    loaded = cache(lambda: _loaded(here, _chosen(cell, ask, adapters), place / MERGED))
    generator = cache(lambda: _generator(here, cell, ask, adapters, loaded))
    evaluate(generator, here.suite, ask.decodings, _judges(here), place)
    return f"{cell.name} seed {cell.seed}, {', '.join(one.name for one in ask.decodings)}"


def describe(plan: Plan, cell: Cell) -> dict[str, Any]:
    """What the cell is, for whoever finds its folder."""
    return {
        "name": cell.name,
        "seed": cell.seed,
        "recipe": cell.recipe.model_dump(mode="json") if cell.recipe else None,
        "adapter": cell.adapter,
        "answers": cell.answers,
        "setting": {key: json.loads(value) for key, value in cell.setting.values},
        "model": plan.matrix.model,
        "data": plan.matrix.data,
        "data_fingerprint": plan.source,
        "suite": plan.suite.name,
        "suite_fingerprint": plan.suite.fingerprint,
        "epochs": [ask.epoch for ask in plan.asks(cell)],
    }


def _train(plan: Plan, cell: Cell) -> list[Path]:
    """The adapters of the cell, by epoch."""
    if cell.recipe is None:
        return [Path(cell.adapter)] if cell.adapter else []
    trained = train(
        cell.recipe,
        model=plan.matrix.model,
        examples=plan.train,
        seed=cell.seed,
        output=cell.training,
        store=plan.store,
        quiet=True,
        trust_remote_code=plan.trust_remote_code,
        guards=output_judge,
    )
    return list(trained.adapters)


def _evaluate(plan: Plan, cell: Cell, ask: Ask, adapters: list[Path]) -> None:
    """One epoch: the suite under every decoding, guards over the same answers, utility."""
    place = cell.folder / f"epoch-{ask.epoch}"
    loaded = cache(lambda: _loaded(plan, _chosen(cell, ask, adapters), place / MERGED))
    generator = cache(lambda: _generator(plan, cell, ask, adapters, loaded))
    judges = _judges(plan)
    evaluate(generator, plan.suite, ask.decodings, judges, place)
    if plan.matrix.remote and not cell.answers:
        ask_again(plan, generator, ask, place)
    for policy in ask.policies:
        for decoding in ask.decodings:
            _guarded(plan, policy, decoding, judges, place)
    if plan.matrix.attack and not cell.answers and ask.epoch == cell.epochs:
        judge, told = judges[plan.matrix.attack_judge](), plan.matrix.system_prompt
        search(plan.matrix.attack, plan.goals, judge, generator, told, place)
    _loss(plan, cell, ask, adapters)
    if plan.test and not cell.answers and ask.epoch == cell.epochs:
        rouge(generator, plan.test, 2 * plan.suite.max_new_tokens, place / "utility")
    if plan.matrix.lm_eval and not cell.answers:
        # The last to have the weights: lm-eval is free to change how they are held.
        given = capabilities.arguments(plan.matrix)
        measure(loaded, given, plan.matrix.batch_size, place / "utility" / capabilities.FILE)


def _judges(plan: Plan) -> Mapping[str, Callable[[], Judge]]:
    return {name: partial(_loaded_judge, name) for name in plan.matrix.judges}


def _generator(
    plan: Plan, cell: Cell, ask: Ask, adapters: list[Path], loaded: Callable[[], tuple[Any, Any]]
) -> Generator:
    """What answers for a cell's epoch."""
    matrix = plan.matrix
    if cell.answers:
        return ImportedGenerator(Path(cell.answers), cell.name)
    if matrix.remote:
        return EndpointGenerator(matrix.engine, matrix.model, matrix.endpoint)
    if matrix.engine == VLLM:
        return served(plan, _chosen(cell, ask, adapters))
    return TransformersGenerator(*loaded(), matrix.model, matrix.batch_size)


def _chosen(cell: Cell, ask: Ask, adapters: list[Path]) -> list[Path]:
    return [adapters[ask.epoch - 1]] if cell.recipe else adapters


def _loaded(plan: Plan, adapters: list[Path], room: Path) -> tuple[Any, Any]:
    """The weights and the tokenizer that answer. What must be merged on disk is put into `room`."""
    matrix, trust = plan.matrix, plan.trust_remote_code
    name = matrix.checkpoint or matrix.model
    # What a checkpoint was quantised with rarely takes an adapter into its weights.
    merge = matrix.merged if matrix.merged is not None else not matrix.checkpoint
    tokenizer = load_tokenizer(
        name, chat_template=matrix.chat_template, adapters=adapters, trust_remote_code=trust
    )
    if matrix.quantization and adapters and merge and not is_whole(adapters[0]):
        # As it is deployed: the merged weights are quantised, once.
        if not room.is_dir():
            export(name, adapters[0], room, merge=True, precision=None, trust_remote_code=trust)
        name, adapters = str(room), []
    weights = load_model(
        name,
        adapters=adapters,
        merge=merge,
        quantization=matrix.quantization,
        trust_remote_code=trust,
    )
    return weights, tokenizer


def _loss(plan: Plan, cell: Cell, ask: Ask, adapters: list[Path]) -> None:
    """The held-out loss of one epoch, and of BBQ's answers at the last.

    An endpoint gives no probabilities of a given text, nor do weights that only vLLM can load.
    """
    measured = plan.test or plan.bias
    if not measured or plan.matrix.remote or cell.answers or unloadable(plan):
        return
    place = cell.folder / f"epoch-{ask.epoch}"
    chosen = _chosen(cell, ask, adapters)
    load = cache(lambda: _loaded(plan, chosen, place / MERGED))
    if plan.test:
        held_out_loss(load, plan.test, place / "utility" / "loss.jsonl")
    if plan.bias and ask.epoch == cell.epochs:
        asked = examples(plan.bias, plan.matrix.system_prompt)
        held_out_loss(load, asked, place / "utility" / BIAS_FILE)


def _guarded(
    plan: Plan,
    policy: str,
    decoding: Decoding,
    judges: Mapping[str, Callable[[], Judge]],
    place: Path,
) -> None:
    """The guard over the stored answers: the same texts, so that guard off and on compare."""

    @cache
    def generator() -> Generator:
        answers = [
            response
            for key, prompts in plan.suite.prompts.items()
            for response in stored(
                where(place, plan.suite, key, decoding) / response_file("none"), prompts
            )
        ]
        engine = "openai" if plan.matrix.remote else plan.matrix.engine
        return Guarded(replay(answers, plan.matrix.model, engine), _checker(policy))

    evaluate(generator, plan.suite, [decoding], judges, place, policy)


def _checker(policy: str) -> Checker:
    """The policy's judges, loaded once for all cells that this process works on."""
    return _written_checker(load_policy(policy).model_dump_json())


@cache
def _written_checker(policy: str) -> Checker:
    return checker(Policy.model_validate_json(policy))


@cache
def _loaded_judge(name: str) -> Judge:
    return load_judge(name)
