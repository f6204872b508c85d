"""Short trainings of a tiny model, on one process or several, the weights written by each.

    python -m torch.distributed.run --nproc-per-node 2 parallel.py JOB.json …

A job has a model's folder, a recipe, and rows of a question and its answer.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any


def main(path: Path) -> None:
    """Train, and save the trained weights of this process beside the job."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from safeft.data import Example
    from safeft.data.masks import encode
    from safeft.data.sets import to_tokens
    from safeft.generation import Scripted
    from safeft.records import Message
    from safeft.training import Recipe
    from safeft.training.methods import Context, Setup
    from safeft.training.trainer import build

    job: dict[str, Any] = json.loads(path.read_text())
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    encode_one = partial(encode, tokenizer=tokenizer, max_length=160)
    turns = [(Message("user", asked), Message("assistant", said)) for asked, said in job["rows"]]
    rows = [encode_one(Example(pair, n, "rows")) for n, pair in enumerate(turns, 1)]
    recipe = Recipe.model_validate(job["recipe"])
    rank = os.environ.get("RANK", "0")
    context = Context("scripted", lambda: Scripted(lambda *_: ""), path.parent / "store")
    told = {"tokenizer": tokenizer, "rows": rows, "encode": encode_one, "seed": 0}
    folder = path.parent / path.stem
    setup = partial(Setup, work=folder, context=context, name=job["model"], **told)
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    parts = (model, tokenizer, to_tokens(rows), [])
    trainer = build(recipe, *parts, seed=0, work=folder, quiet=True, setup=setup)
    trainer.train()
    named = trainer.model.named_parameters()
    kept = {name: one.detach().contiguous() for name, one in named if one.requires_grad}
    save_file(kept, path.with_name(f"{path.stem}-{rank}.safetensors"))
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # who leaves first would keep the other waiting


if __name__ == "__main__":
    for one in sys.argv[1:]:
        main(Path(one))
