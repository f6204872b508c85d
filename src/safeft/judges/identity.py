"""What a judge is called: a word, and eight digits that change with whatever decides a verdict."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from io import StringIO
from pathlib import Path
from tokenize import COMMENT, generate_tokens

_HERE = Path(__file__).parent


def identity(kind: str, rules: Sequence[str], *content: str, folder: Path = _HERE) -> str:
    """`kind@1f3a9c2b`: of the code of the modules `rules`, and of `content` such as weights.

    The same head under another threshold, phrase or stop word gives other verdicts, and must not
    be mistaken for the same judge.
    """
    digest = hashlib.sha256()
    for part in (*(code(folder / f"{name}.py") for name in rules), *content):
        digest.update(part.encode() + b"\0")
    return f"{kind}@{digest.hexdigest()[:8]}"


@cache
def code(path: Path) -> str:
    """A module's source without comments, docstrings and blank lines, which decide nothing."""
    source = path.read_text(encoding="utf-8")
    lines = source.split("\n")
    for token in generate_tokens(StringIO(source).readline):
        if token.type == COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for row in _docstrings(source):
        lines[row - 1] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _docstrings(source: str) -> Iterator[int]:
    """The numbers of the lines that docstrings fill."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node) is not None:
            said = node.body[0]
            yield from range(said.lineno, (said.end_lineno or said.lineno) + 1)
