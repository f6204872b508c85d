"""Reads and writes JSON so that what is checked is what any other reader would find in it."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class UnreadableError(ValueError):
    """Bytes that are not one JSON object, or one that two readers could read differently."""


def read_object(data: bytes | str) -> dict[str, Any]:
    """A JSON object in UTF-8. Raises UnreadableError, for a name given twice as well."""
    try:
        text = data if isinstance(data, str) else data.decode()
        found = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise UnreadableError("not UTF-8") from error
    except RecursionError as error:
        raise UnreadableError("nested too deeply") from error
    except UnreadableError:
        raise
    except ValueError as error:
        raise UnreadableError("not JSON") from error
    if not isinstance(found, dict):
        raise UnreadableError("not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableError("a name is given twice in one object")
    return found


def _refused(constant: str) -> NoReturn:
    raise UnreadableError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refused)


def write(value: object) -> str:
    """Compact JSON in ASCII, which also carries the halves of a character that a model sent."""
    return json.dumps(value, separators=(",", ":"))


def whole(text: str) -> str:
    """The text with the halves of characters, which two chunks may have carried, put together."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
