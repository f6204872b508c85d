"""Everything that can go wrong, in one tree.

    SafeftError             a failure of the work itself         exit code 1
    ├── UserError           something the user can fix           exit code 2
    │   ├── ConfigError     a YAML file or an option
    │   ├── DataError       a data file or one of its rows
    │   ├── ModelError      a model, adapter or template
    │   │   └── PromptError a prompt that a model cannot be asked
    │   └── RunError        a run directory
    └── StoredError         a file that safeft wrote is damaged

Each message says what was wrong, where, and how to fix it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SafeftError(Exception):
    """The work failed although the request was fine."""

    exit_code = 1


class UserError(SafeftError):
    """The request was wrong, and the message says how to mend it."""

    exit_code = 2


class ConfigError(UserError):
    """A YAML file or an option is not valid."""


class DataError(UserError):
    """A data file or one of its rows is not usable."""


class ModelError(UserError):
    """A model, adapter or chat template is missing or does not fit."""


class PromptError(ModelError):
    """A prompt that a model cannot be asked; `id` says which, for whoever knows it by a place."""

    def __init__(self, id: str, problem: str) -> None:
        super().__init__(id, problem)  # what a worker process sends home
        self.id = id
        self.problem = problem

    def __str__(self) -> str:
        """The prompt by its id, and what is wrong."""
        return f"prompt {self.id!r} {self.problem}"


class TooLongError(PromptError):
    """A prompt that leaves no room for an answer in the model's context."""


class RunError(UserError):
    """A run directory is in the way, locked or incomplete."""


class StoredError(SafeftError):
    """A file that safeft wrote earlier is damaged."""


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line; its kind when it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def printable(text: str) -> str:
    """Text that moves no cursor and writes to no clipboard, whoever wrote it."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean 'epochs'?`, or nothing when no name is near."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest name, or the list of what is known."""
    names = sorted(known)
    return nearest(word, names) or f"; known: {', '.join(names)}"
