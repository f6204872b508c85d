"""Finds every text in a choice, wherever an upstream put it, so that none leaves unread.

What is known to hold no words of the model is listed here; whatever else holds letters is text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from safeft.guarding.policy import StageName
from safeft.serve.reading import UnreadableError, write

TOKENS = "logprobs"
_WORDLESS_CHOICE = {
    *("index", "finish_reason", "native_finish_reason", "stop_reason", "matched_stop"),
    *("logprobs", "token_ids", "prompt_token_ids", "prompt_logprobs", "content_filter_results"),
}
_WORDLESS_SAID = {"role", "id"}
_WORDLESS_CALL = {"index", "id", "type"}
_WORDLESS_PART = {"index", "id", "type", "signature", "format"}
_WORDLESS_AROUND = {
    *("id", "object", "created", "model", "choices", "usage", "system_fingerprint"),
    *("service_tier", "prompt_logprobs", "prompt_token_ids", "prompt_filter_results"),
    *("moderation", "obfuscation", "provider"),
}
_MOST_NESTED = 32


class Channel(NamedTuple):
    """One of the texts of a choice: the stage that reads it, and what tells it from the others."""

    stage: StageName
    key: str


class Piece(NamedTuple):
    """More of one text."""

    channel: Channel
    text: str


def pieces(choice: Mapping[str, Any], said: str) -> list[Piece]:
    """The texts of a choice. `said` names what holds them: message or delta, or nothing.

    Raises UnreadableError when the choice has another shape than the API's.
    """
    found = list(_outside(choice, said))
    if said:
        found += _inside(_mapping(choice.get(said) or {}, said))
    return [piece for piece in found if piece.text]


def around(body: Mapping[str, Any]) -> list[Piece]:
    """The texts beside the choices."""
    found = [_other(key, value) for key, value in body.items() if key not in _WORDLESS_AROUND]
    return [piece for piece in found if piece.text]


def tokens(choice: Mapping[str, Any]) -> str:
    """What the tokens with log probabilities spell, in both of the API's shapes."""
    given = choice.get("logprobs")
    if given is None:
        return ""
    logprobs = _mapping(given, "logprobs")
    spelled = list(logprobs.get("tokens") or [])
    for key in ("content", "refusal"):
        spelled += [_mapping(one, key).get("token", "") for one in logprobs.get(key) or []]
    return "".join(one for one in spelled if isinstance(one, str))


def called(calls: object) -> list[Piece]:
    """The names and arguments of tool calls. Raises UnreadableError."""
    found = []
    for place, call in enumerate(_list(calls)):
        index = _mapping(call, "a tool call").get("index", place)
        found.append(Piece(Channel("tool_calls", f"tool {index}"), _call(call)))
    return found


def _outside(choice: Mapping[str, Any], said: str) -> Iterator[Piece]:
    for key, value in choice.items():
        if key == "text" and not said:
            yield Piece(Channel("output", "text"), _words(value))
        elif key not in _WORDLESS_CHOICE and key != said:
            yield _other(key, value)


def _inside(said: Mapping[str, Any]) -> Iterator[Piece]:
    for key, value in said.items():
        if key == "tool_calls":
            yield from called(value)
        elif key == "function_call" and value is not None:
            yield Piece(Channel("tool_calls", "function"), _function(_mapping(value, key)))
        elif key in ("content", "refusal"):
            yield Piece(Channel("output", key), _words(value))
        elif key not in _WORDLESS_SAID:
            yield _other(key, value)


def _other(key: str, value: object) -> Piece:
    """A field by any name: what is named like thoughts is read as such, the rest as an answer."""
    stage: StageName = "reasoning" if key.startswith(("reasoning", "thinking")) else "output"
    if isinstance(value, list):
        return Piece(Channel(stage, key), _words(value))
    return Piece(Channel(stage, key), _any(value))


def _call(call: Mapping[str, Any]) -> str:
    """A tool call's name and arguments."""
    return "".join(
        _function(value) if isinstance(value, dict) else _any(value)
        for key, value in call.items()
        if key not in _WORDLESS_CALL
    )


def _function(function: Mapping[str, Any]) -> str:
    name = function.get("name")
    rest = [value for key, value in function.items() if key != "name" and value is not None]
    said = "".join(one if isinstance(one, str) else write(one) for one in rest)
    return (f"{_any(name)}\n" if name else "") + said


def _words(value: object) -> str:
    """A text, or the texts of a list of parts, in order."""
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise UnreadableError("a text is neither a string nor a list of parts")
    return "".join(_part(one) for one in value)


def _part(part: object, depth: int = 0) -> str:
    if isinstance(part, str):
        return part
    if depth > _MOST_NESTED:
        raise UnreadableError("nested too deeply")
    if isinstance(part, list):
        return "".join(_part(one, depth + 1) for one in part)
    if isinstance(part, dict):
        inner = [value for key, value in part.items() if key not in _WORDLESS_PART]
        return "".join(_part(one, depth + 1) for one in inner)
    return ""


def _any(value: object) -> str:
    """A string as it is; a structure as JSON when it holds a string anywhere."""
    if isinstance(value, str):
        return value
    return write(value) if isinstance(value, dict) and _part(list(value.values())) else ""


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableError(f"{name} is not an object")
    return value


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnreadableError("a list was expected")
    return value
