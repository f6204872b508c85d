"""The run directory: manifest, atomic files, write-once JSONL, resume and locks.

A file is appended as `<name>.partial` and renamed once it is complete, so a finished file is never
written again and a killed command goes on from the last whole line.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from safeft.errors import RunError, SafeftError, StoredError

Record = Mapping[str, Any]
Case = TypeVar("Case")
FULL = 1 << 20  # bytes: a disk with less is full
_OWN = (".lock", "manifest.json", "manifest.json.partial")
_REPORTED = ("safeft", "torch", "transformers", "trl", "peft", "datasets", "accelerate", "numpy")


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_files(folder: Path, pattern: str = "*.safetensors") -> str:
    """SHA-256 (hex) over the names and bytes of the matching files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file or nothing."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file that safeft wrote; StoredError when it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoredError(f"{path}: damaged ({error}); delete it to have it made again") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a finished JSONL file; StoredError names the damaged line."""
    return _records(path, path.read_bytes())


def _records(path: Path, data: bytes) -> list[dict[str, Any]]:
    records = []
    # Bytes, because text would also be split at U+2028 and its kin, which JSON leaves as they are.
    for number, line in enumerate(data.splitlines(), 1):
        try:
            records.append(json.loads(line.decode()))
        except ValueError as error:
            raise StoredError(
                f"{path}: line {number} is damaged; delete the file to redo it"
            ) from error
    return records


class Lines:
    """A write-once JSONL file: `done` holds what an interrupted run left behind.

    Leaving the `with` block without an error completes the file; with one, the partial file stays
    and the next run continues it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.done = self._recover()

    def _recover(self) -> list[dict[str, Any]]:
        if self.path.is_file():
            raise RunError(f"{self.path} is finished and is never written again")
        if not self.partial.is_file():
            return []
        data = self.partial.read_bytes()
        # A kill can cut the last line in the middle: what precedes it is whole.
        whole = data[: data.rfind(b"\n") + 1]
        records = _records(self.partial, whole)
        if len(whole) < len(data):
            os.truncate(self.partial, len(whole))  # rewriting would lose all to a second kill
        return records

    def __enter__(self) -> Lines:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.partial.open("a", encoding="utf-8", newline="\n")
        return self

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add records in one write, flushed; NaN and infinities are refused (ValueError)."""
        lines = [json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records]
        self._file.write("".join(line + "\n" for line in lines))
        self._file.flush()

    def fill(
        self,
        cases: Sequence[Case],
        size: int,
        make: Callable[[Sequence[Case]], Iterable[Record]],
        written: Callable[[int], None] = lambda _: None,
    ) -> None:
        """One record a case, made and written `size` cases at a time; `written` is told how many.

        What was interrupted goes on in the same batches: what a model says of a case may depend on
        its neighbours in the last digits.
        """
        done = len(self.done)
        for start in range(0, len(cases), size):
            batch = cases[start : start + size]
            if start + len(batch) > done:
                self.append([*make(batch)][max(0, done - start) :])
                written(start + len(batch))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                os.fsync(self._file.fileno())
        if kind is None:
            self.partial.replace(self.path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process.

    Raises RunError when another process works in it, or when it holds something that is no run.
    """
    _refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{folder}: another process is working in it; wait or choose another"
            ) from None
        yield


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _REPORTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str:
    """The revision of the working directory, `-dirty` when it has changes, or `none`."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return "none"
    return run.stdout.strip() or "none"


@contextmanager
def disk_watched(folder: Path) -> Iterator[None]:
    """Whatever a library raises when the disk runs full becomes the OSError that it is."""
    try:
        yield
    except (SafeftError, OSError):
        raise
    except Exception as error:
        # torch and safetensors raise errors of their own, some without a reason.
        if shutil.disk_usage(folder).free >= FULL:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def open_run(folder: Path, config: Mapping[str, Any]) -> None:
    """Start or resume a run: its manifest holds the resolved config, and only that config fits.

    A run that has made nothing yet gives way to another. Raises RunError when the folder holds
    another run or something that is no run.
    """
    path = folder / "manifest.json"
    _refuse_foreign(folder)
    if path.is_file():
        stored = read_json(path)
        if fingerprint(stored["config"]) == fingerprint(config):
            return
        if _made(folder):
            keys = ", ".join(_differing(stored["config"], config))
            raise RunError(
                f"{folder} holds another run (differs in: {keys}); "
                "choose another --output or delete the folder"
            )
    manifest = {
        "config": config,
        "config_hash": fingerprint(config),
        "versions": versions(),
        "git": git_revision(),
        "machine": platform.platform(),
        "command": " ".join(["safeft", *sys.argv[1:]]),
    }
    write_json(path, manifest)


def _made(folder: Path) -> bool:
    """Whether a run has left anything that another run would mix with its own."""
    return any(path.is_file() and not _remains(path) for path in folder.rglob("*"))


def _remains(path: Path) -> bool:
    """Whether a refused run leaves such a file, and no other run is misled by it.

    Written texts are named after all that they depend on.
    """
    own = path.name in _OWN or path.name.startswith("written-")
    return own or (path.suffix == ".partial" and not path.stat().st_size)


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; choose another --output")
    path = folder / "manifest.json"
    if path.is_file() and isinstance(stored := read_json(path), dict) and "config" in stored:
        return
    others = folder.is_dir() and any(one.name not in _OWN for one in folder.iterdir())
    if path.is_file() or others:
        raise RunError(f"{folder} is not empty and holds no run; choose another --output")


def _differing(stored: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    """The dotted keys in which two configs differ, one level into the mappings that both hold."""
    for key in _unequal(stored, config):
        one, other = stored.get(key), config.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from (f"{key}.{inner}" for inner in _unequal(one, other))
        else:
            yield key


def _unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ as JSON, where a tuple is a list but null is not absence."""
    ours, theirs = ({key: fingerprint(value) for key, value in m.items()} for m in (one, other))
    return sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
