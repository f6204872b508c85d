"""The log of decisions: one JSON line each, without the text unless that is asked for."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from pathlib import Path
from threading import Lock

from safeft.errors import ConfigError
from safeft.guarding.decision import Decision
from safeft.guarding.policy import StageName
from safeft.records import Response
from safeft.serve.observer import Silent


class Decisions(Silent):
    """An observer that appends one line per decision to a file.

    A line is written whole and at once, so that lines of several threads, or of several processes
    that share the file, never mix. It is nothing that this process could lose by ending.
    """

    def __init__(self, path: Path, *, text: bool = False) -> None:
        """`text` also writes what was read, word by word.

        Raises ConfigError when the file cannot be opened.
        """
        self._path, self._text = path, text
        self._lock = Lock()
        try:
            self._file = self._open()
        except OSError as error:
            raise ConfigError(
                f"decisions: {path} cannot be written ({error.strerror}); choose another file"
            ) from error

    def _open(self) -> int:
        # For its owner alone: it may hold what people wrote.
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def reopen(self) -> None:
        """Go on in a new file of the same name, once the old one was renamed.

        Raises OSError when it cannot be opened; the old file is written on then.
        """
        new = self._open()
        with self._lock:
            old, self._file = self._file, new
            os.close(old)

    def close(self) -> None:
        """Write nothing more."""
        with self._lock:
            os.close(self._file)
            self._file = -1

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        """Append the decision. Raises OSError when the disk is full."""
        said = subject(decision.stage, text)
        record = {
            "time": time.time(),
            "request": text.prompt.id,
            "stage": decision.stage,
            "outcome": decision.outcome,
            "action": decision.action,
            "category": decision.category,
            "score": None if math.isnan(decision.score) else decision.score,
            "judge": decision.judge,
            "policy": decision.policy,
            "error": decision.error,
            "escalated": decision.escalated,
            "seconds": seconds,
            "sha256": digest(said),
            "length": len(said),
        }
        if self._text:
            record["text"] = said
        self._append(json.dumps(record).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        with self._lock:
            if self._file < 0:
                return
            while line:  # a disk that is filling up takes a part
                line = line[os.write(self._file, line) :]


def subject(stage: StageName, text: Response) -> str:
    """What was decided about: a request, or a text that wants to leave."""
    return text.prompt.asked if stage == "input" else text.text


def digest(text: str) -> str:
    """SHA-256 of a text's UTF-8; what no UTF-8 holds is escaped."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
