"""What only the libraries that load a model can say against a comparison: they take seconds."""

from __future__ import annotations

import json

from safeft.comparison.capabilities import refuse_incapable
from safeft.comparison.cells import Cell, Plan
from safeft.comparison.rules import recipes_of, unfinished
from safeft.comparison.settings import Setting
from safeft.errors import ConfigError, DataError, PromptError
from safeft.generation.schema import VLLM, installed
from safeft.generation.transformers import context_of, prompt_ids, refuse_too_long
from safeft.models import load_config, load_tokenizer, unreadable
from safeft.records import Prompt
from safeft.training import check_arguments, check_targets


def check_local(plan: Plan) -> None:
    """Raises ConfigError, DataError or ModelError, while there is any training or asking to do."""
    if not plan.matrix.asked or plan.matrix.remote:
        return
    for way in _ways(plan):
        installed(way.matrix.engine)
        _refuse_unloadable(way)
        _refuse_unanswerable(way)
    _refuse_untrainable(plan, unfinished(plan))
    refuse_incapable(plan, unfinished(plan))


def unloadable(plan: Plan) -> str:
    """Why Transformers cannot load what answers here; empty when it can."""
    name = plan.matrix.checkpoint or plan.matrix.model
    return unreadable(name, trust_remote_code=plan.trust_remote_code)


def _refuse_unloadable(plan: Plan) -> None:
    """Raises ConfigError for quantised weights that only vLLM can load, where Transformers must."""
    todo, matrix = unfinished(plan), plan.matrix
    if not todo:
        return
    beyond_vllm = {
        "engine": matrix.engine != VLLM,
        "lm_eval": matrix.lm_eval is not None,
        "bias": matrix.bias is not None,
        "merged": bool(matrix.merged),
    }
    needed = next((key for key, used in beyond_vllm.items() if used), "")
    if needed and (reason := unloadable(plan)):
        raise ConfigError(
            f"{needed}: Transformers cannot load {matrix.checkpoint or matrix.model} here "
            f"({reason}); install what it lacks, or use `engine: vllm` without lm_eval, bias and "
            "merged"
        )
    trust = plan.trust_remote_code
    if recipes_of(todo) and (reason := unreadable(matrix.model, trust_remote_code=trust)):
        raise ConfigError(
            f"recipes: Transformers cannot train {matrix.model} here ({reason}); train the plain "
            "weights, and ask the quantised ones as `checkpoint`"
        )


def _ways(plan: Plan) -> list[Plan]:
    """Each way of asking once that there is still something to ask in, the usual one always."""
    todo = [cell.setting for cell in unfinished(plan)]
    found = {json.dumps(one.asked, sort_keys=True): one for one in (Setting(), *todo)}
    return [plan.under(one) for one in found.values()]


def _refuse_untrainable(plan: Plan, todo: list[Cell]) -> None:
    for recipe in recipes_of(todo):
        check_arguments(recipe)
        check_targets(recipe, plan.matrix.model, trust_remote_code=plan.trust_remote_code)


def _refuse_unanswerable(plan: Plan) -> None:
    """Prompts of the suite and of the test rows that the template or the context refuses."""
    if not unfinished(plan):
        return
    model, trust = plan.matrix.checkpoint or plan.matrix.model, plan.trust_remote_code
    tokenizer = load_tokenizer(
        model, chat_template=plan.matrix.chat_template, trust_remote_code=trust
    )
    if bare := next((one for one in plan.test if one.text), None):
        raise DataError(f"{bare.place}: is plain text; test rows need an answer to compare with")
    room = plan.suite.max_new_tokens
    context = context_of(load_config(model, trust_remote_code=trust))
    lengths = {one: len(prompt_ids(tokenizer, one, model)) for one in plan.suite.all_prompts()}
    refuse_too_long(lengths, room, context, model)
    rows = [Prompt(one.place, one.messages[:-1]) for one in plan.test]
    try:
        tests = {one: len(prompt_ids(tokenizer, one, model)) for one in rows}
        refuse_too_long(tests, 2 * room, context, model)
    except PromptError as error:
        raise DataError(f"{error.id}: its prompt {error.problem}") from error
