"""What the user wrote after `--data` → rows: a file, a folder, or a set on the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from safeft.data import formats, layout
from safeft.data.readers import READERS, read
from safeft.data.rows import Source, SourceRow, fingerprint
from safeft.errors import ConfigError, DataError, nearest

_WRITTEN = re.compile(r"(?P<name>.+?)(@(?P<revision>[\w./-]+))?(:(?P<split>[\w./-]+))?")
_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True, slots=True)
class _Address:
    name: str
    revision: str | None
    split: str | None


def load(
    source: str,
    *,
    revision: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    format: str | None = None,
) -> Source:
    """Read `source`: a file, a folder, or a hub id such as `org/name@revision:split`.

    A hub set is pinned: without a revision its current commit is looked up and recorded. `split`
    may be `config/split`. `limit` keeps the first rows; `format` overrides the detection.
    Raises DataError for missing, empty, unreadable or ambiguous data, ConfigError for options.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: expected at least 1 row, found {limit}")
    address = _address(source, revision, split)
    chosen = _files(address)
    rows = tuple(islice(_rows(address.name, chosen), limit))
    if not rows:
        raise DataError(f"{address.name}: holds no rows; give data with at least one")
    named = formats.check(address.name, format, rows) if format else None
    detected = named or formats.detect(rows, address.name)
    return Source(
        name=address.name,
        format=detected,
        rows=rows,
        fingerprint=fingerprint(rows),
        revision=chosen.revision,
        split=chosen.split,
        unused=formats.unused(rows, detected),
    )


def _address(source: str, revision: str | None, split: str | None) -> _Address:
    if _path(source).exists():  # a local name may hold `@` and `:`
        return _Address(source, revision, split)
    written = _WRITTEN.fullmatch(source)
    if written is None:
        raise DataError(f"data: expected a file, a folder or org/name, found {source!r}")
    return _Address(
        written["name"],
        _agreed("revision", written["revision"], revision),
        _agreed("split", written["split"], split),
    )


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # `~name` of a user that does not exist
        return Path(name)


def _agreed(option: str, written: str | None, given: str | None) -> str | None:
    if written and given and written != given:
        raise ConfigError(f"{option}: the data says {written!r}, the option {given!r}; give one")
    return written or given


def _files(address: _Address) -> layout.Files:
    path = _path(address.name)
    if not path.exists():
        _refuse_missing_path(path, address.name)
        return layout.hub(address.name, address.revision, address.split)
    if address.revision:
        raise ConfigError(f"{address.name}: is local and has no revision; leave the option out")
    if path.is_dir():
        return layout.local(path, address.split)
    if address.split not in (None, "train"):
        raise ConfigError(f"{address.name}: is one file, not a split {address.split!r}")
    return layout.Files(path.parent, "", (Path(path.name),))


def _refuse_missing_path(path: Path, name: str) -> None:
    looks_local = path.suffix.lower() in READERS or name.startswith((".", "/", "~"))
    if not looks_local and _HUB.fullmatch(name):
        return
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    if not siblings:
        hint = "; check the path (a hub set is written org/name)"
    else:
        hint = nearest(path.name, siblings) or f"; {path.parent}/ has no such name"
    raise DataError(f"{name}: no such file or folder{hint}")


def _rows(name: str, files: layout.Files) -> Iterator[SourceRow]:
    """The rows of every file, each called as the user would call it."""
    single = not files.split
    return chain.from_iterable(
        read(files.root / path, name if single else f"{name}/{path.as_posix()}")
        for path in files.paths
    )
