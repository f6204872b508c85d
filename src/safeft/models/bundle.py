"""What an adapter asks of whoever serves it: `inference.json` in its folder.

Its one key, `system_prompt`, is said before every conversation. It is put into the chat template,
the one place that everything which asks a model goes through; a merged model carries it along.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safeft.errors import ModelError, StoredError
from safeft.runs import read_json

INFERENCE = "inference.json"
_PROBE = "probe"
# What stands before a template: the system prompt joins the conversation's own, or leads it.
_SYSTEM = (
    '{%% set said = "%s" %%}'
    "{%% if messages[0]['role'] == 'system' %%}"
    "{%% set own = messages[0]['content'] %%}"
    "{%% set own = own if own is string else "
    "own | selectattr('text', 'defined') | map(attribute='text') | join('\\n') %%}"
    "{%% set messages = [{'role': 'system', 'content': said + '\\n\\n' + own}] + messages[1:] %%}"
    "{%% else %%}"
    "{%% set messages = [{'role': 'system', 'content': said}] + messages %%}"
    "{%% endif %%}"
)
# For templates without a system role: it leads the first request.
_REQUEST = (
    '{%% set said = "%s" %%}'
    "{%% set own = messages[0]['content'] %%}"
    "{%% set own = own if own is string else "
    "own | selectattr('text', 'defined') | map(attribute='text') | join('\\n') %%}"
    "{%% set messages = [{'role': messages[0]['role'], 'content': said + '\\n\\n' + own}]"
    " + messages[1:] %%}"
)


def saying(tokenizer: Any, adapters: Iterable[str | Path]) -> Any:
    """The tokenizer, its chat template saying first what the adapters ask for.

    Without anything to say it is the tokenizer itself, else a copy. Raises ModelError when a bundle
    asks for something unknown, or when the template shows the system prompt in no way.
    """
    for adapter in adapters:
        if prompt := system_prompt_of(Path(adapter)):
            tokenizer = _told(tokenizer, prompt, adapter)
    return tokenizer


def system_prompt_of(adapter: Path) -> str:
    """The system prompt that an adapter's folder asks for; empty when it asks for none.

    Raises ModelError for a bundle that asks for anything else.
    """
    path = adapter / INFERENCE
    if not path.is_file():
        return ""
    try:
        bundle = read_json(path)
    except StoredError as error:
        raise ModelError(
            f"{path}: is no JSON; mend it, or delete it to serve without it"
        ) from error
    prompt = bundle.get("system_prompt") if isinstance(bundle, dict) else None
    if not isinstance(prompt, str) or set(bundle) != {"system_prompt"}:
        raise ModelError(
            f"{path}: must hold one key, system_prompt, with a text; another version of safeft may "
            "know what it asks for"
        )
    return prompt


def _told(tokenizer: Any, prompt: str, adapter: str | Path) -> Any:
    literal = prompt.encode("unicode_escape").decode().replace('"', '\\"')
    for before in (_SYSTEM, _REQUEST):
        told = copy.deepcopy(tokenizer)
        told.chat_template = (before % literal) + tokenizer.get_chat_template()
        if _says(told, prompt):
            return told
    raise ModelError(
        f"adapter {adapter}: its system prompt does not pass the model's chat template; mend the "
        "template that lies beside the tokenizer"
    )


def _says(tokenizer: Any, prompt: str) -> bool:
    try:
        shown: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": _PROBE}], tokenize=False, add_generation_prompt=True
        )
    except Exception:  # a template is code, and may raise anything
        return False
    return prompt.strip() in shown and _PROBE in shown
