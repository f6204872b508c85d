"""Hub ids load from the Hub's own cache, offline, at the revision that was asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OLD, NEW = "a" * 40, "b" * 40

LOADING = """
import sys
from safeft.errors import ModelError
from safeft.models import load_model, load_tokenizer

def first(name):
    return load_model(name).model.embed_tokens.weight[0, 0].item()

old, new = sys.argv[1:]
assert len(load_tokenizer("org/tiny")) == len(load_tokenizer("org/tiny@" + old)) == 300
print(first("org/tiny@" + old), first("org/tiny@" + new), first("org/tiny@main"), first("org/tiny"))
for name in ("org/tiny@" + "c" * 40, "org/other"):
    try:
        load_model(name)
    except ModelError as error:
        assert name in str(error), error
    else:
        raise AssertionError(name)
"""


def test_revisions_load_from_the_local_cache(
    tiny_model: Path, tiny_llama: Callable[..., Any], tmp_path: Path
) -> None:
    """A pinned commit, a branch and no revision give their weights; an absent one is refused."""
    cached = tmp_path / "hub" / "models--org--tiny"
    models = {OLD: tiny_llama(), NEW: tiny_llama(seed=1)}
    for commit, model in models.items():
        shutil.copytree(tiny_model, cached / "snapshots" / commit)
        model.save_pretrained(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(NEW)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", LOADING, OLD, NEW],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    old, new = (model.model.embed_tokens.weight[0, 0].item() for model in models.values())
    assert [float(value) for value in run.stdout.split()] == [old, new, new, new]
