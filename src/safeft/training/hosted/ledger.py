"""What a hosted run has asked for and got: on disk before each call and after it."""

from __future__ import annotations

import uuid
from pathlib import Path

from safeft.runs import read_json, write_json

NAME = "provider.json"


class Ledger:
    """The ids at the provider. `mark` is this run's alone, so that what it made can be found."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        found = read_json(self.path) if self.path.is_file() else {}
        self.mark: str = found.get("mark") or uuid.uuid4().hex
        self.asked: list[str] = found.get("asked", [])
        self.made: dict[str, str] = found.get("made", {})

    def ask(self, what: str) -> None:
        """Note that `what` is about to be asked for."""
        if what not in self.asked:
            self.asked.append(what)
            self._write()

    def got(self, what: str, id: str) -> None:
        """Note the id of `what`."""
        self.made[what] = id
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"mark": self.mark, "asked": self.asked, "made": self.made})
