"""Trains the embedded guard: low-rank changes to MiniLM, and a head, on pairs read together.

    python benchmarks/testbed/prompts.py WORK/prompts.jsonl
    PYTHONPATH=src python benchmarks/guard/train.py --prompts WORK/prompts.jsonl --work WORK

Writes guard.safetensors into --work, resumes there after a kill, and takes about 20 minutes on two
cores. `measure.py` measures it and writes the card; what ships lies in src/safeft/guarding/weights.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from kinds import CATEGORIES
from rows import Row, never_near, training
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import AutoModel, AutoTokenizer

from safeft.guarding.reader import SAID, encoded, pooled
from safeft.models.encoder import encode, encoder_folder

NEAR = 0.85
RANK, SCALE, HIDDEN, DROPOUT = 24, 1.0, 192, 0.1
EPOCHS, BATCH, RATE, HEAD_RATE, DECAY, WARM = 2, 32, 6e-4, 1e-3, 0.01, 0.06
ASKED = 96  # tokens of a request; of an answer as many as the guard reads at once
PLAIN = 0.08  # pairs whose request is left out: an answer must also be known by itself
CROPPED = 0.4  # answers that are cut to a stretch of themselves, as a stream's windows are
SMOOTH, KIND_WEIGHT = 0.04, 0.25
SAVED = 100  # steps from one checkpoint to the next
LAYERS = ("query", "key", "value", "dense")


class LowRank(nn.Module):
    """A frozen linear layer and its low-rank change."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(RANK, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The layer's output with the change."""
        return self.layer(inputs) + SCALE * (inputs @ self.down.T) @ self.up.T


class Guard(nn.Module):
    """MiniLM with changes, and the head over its pooled tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.body = AutoModel.from_pretrained(encoder_folder(), attn_implementation="sdpa")
        self.body.requires_grad_(False)
        names = [
            name
            for name, layer in self.body.named_modules()
            if isinstance(layer, nn.Linear) and name.split(".")[-1] in LAYERS and "pooler" not in name
        ]
        for name in names:
            parent = self.body.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.split(".")[-1], LowRank(self.body.get_submodule(name)))
        self.hidden = nn.Linear(2 * 384, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2 + len(CATEGORIES))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits, shape (n, 2 + categories)."""
        states = self.body(**batch).last_hidden_state
        features = self.drop(pooled(states, batch["attention_mask"]))
        return self.head(self.drop(nn.functional.gelu(self.hidden(features))))

    def shipped(self) -> dict[str, torch.Tensor]:
        """What is learned, in half precision, named as the reader wants it."""
        out = {}
        for name, layer in self.body.named_modules():
            if isinstance(layer, LowRank):
                out |= {f"{name}.down": layer.down, f"{name}.up": layer.up}
        for name in ("hidden", "head"):
            layer = getattr(self, name)
            out |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
        return {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in out.items()}


def far(rows: list[Row]) -> list[Row]:
    """`rows` without those whose prompt comes near one that is kept out."""
    references = encode(never_near(), max_length=96).T
    prompts = sorted({row.prompt for row in rows})
    embedded = encode(prompts, max_length=96)
    near = {one for one, vector in zip(prompts, embedded, strict=True) if (vector @ references).max() >= NEAR}
    kept = [row for row in rows if row.prompt not in near]
    print(f"{len(rows) - len(kept)} of {len(rows)} training rows are near what is kept out", flush=True)
    return kept


def tokenised(rows: list[Row], tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """The token ids of both sides of each row."""
    def ids(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]

    return list(zip(ids([row.prompt for row in rows]), ids([row.response for row in rows]), strict=True))


def seen(pair: tuple[list[int], list[int]], row: Row, rng: random.Random) -> tuple[list[int], list[int]]:
    """What this epoch sees of a row: the request's end, and the answer or a stretch of it."""
    left, right = pair[0][-ASKED:], pair[1]
    if not right:
        return left, right
    left = [] if rng.random() < PLAIN else left
    if rng.random() < CROPPED and len(right) > 24:
        size = rng.randint(20, min(SAID, len(right)))
        # An unsafe answer's first words may be the only ones that say so.
        start = 0 if row.unsafe and rng.random() < 0.5 else rng.randint(0, len(right) - size)
        return left, right[start : start + size]
    start = rng.choice((0, max(0, len(right) - SAID)))
    return left, right[start : start + SAID]


def batches(rows: list[Row], pairs: list[Any], epoch: int, seed: int) -> list[tuple[list[int], list[Any]]]:
    """Batches of similar length in random order: the rows' places, and what is seen of each."""
    rng = random.Random(f"{seed} {epoch}")
    shown = [seen(pair, row, rng) for pair, row in zip(pairs, rows, strict=True)]
    order = sorted(range(len(rows)), key=lambda place: len(shown[place][0]) + len(shown[place][1]) + 24 * rng.random())
    groups = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    rng.shuffle(groups)
    return [(group, [shown[place] for place in group]) for group in groups]


def loss_of(logits: torch.Tensor, rows: list[Row], balance: torch.Tensor) -> torch.Tensor:
    """Harm in answers and in requests, and the category where one is known."""
    truth = torch.tensor([float(row.unsafe) for row in rows])
    truth = truth * (1 - 2 * SMOOTH) + SMOOTH
    asked = torch.tensor([not row.response for row in rows])
    column = torch.where(asked, logits[:, 1], logits[:, 0])
    weight = torch.where(truth > 0.5, balance[asked.long()], torch.ones(()))
    loss = binary_cross_entropy_with_logits(column, truth, weight=weight)
    known = [place for place, row in enumerate(rows) if row.kind]
    if known:
        kinds = torch.tensor([CATEGORIES.index(rows[place].kind) for place in known])
        loss = loss + KIND_WEIGHT * cross_entropy(logits[known, 2:], kinds)
    return loss


def fit(rows: list[Row], work: Path, seed: int) -> Guard:
    """All epochs, with a checkpoint every so often: a resumed run ends in the same weights."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    model, pairs = Guard(), tokenised(rows, tokenizer)
    body = [p for name, p in model.named_parameters() if p.requires_grad and name.startswith("body")]
    heads = [*model.hidden.parameters(), *model.head.parameters()]
    groups = [{"params": body, "lr": RATE}, {"params": heads, "lr": HEAD_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
    plan = [one for epoch in range(EPOCHS) for one in batches(rows, pairs, epoch, seed)]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (WARM * len(plan)), (len(plan) - step) / (len(plan) * (1 - WARM)))
    )
    unsafe = [sum(row.unsafe for row in rows if bool(row.response) is kind) for kind in (True, False)]
    total = [sum(bool(row.response) is kind for row in rows) for kind in (True, False)]
    balance = torch.tensor([(t - u) / u for t, u in zip(total, unsafe, strict=True)])
    checkpoint, first = work / "checkpoint.pt", 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"]), optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["dropout"])
        first = state["step"]
    began, total_loss = time.monotonic(), 0.0
    model.train()
    for step in range(first, len(plan)):
        places, shown = plan[step]
        batch = tokenizer.pad([encoded(tokenizer, *one) for one in shown], return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):  # several times as fast on the same cores
            found = model(dict(batch))
        loss = loss_of(found.float(), [rows[place] for place in places], balance)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*body, *heads], 1.0)
        optimizer.step()
        schedule.step()
        total_loss += loss.item()
        if (step + 1) % 50 == 0:
            pace = (time.monotonic() - began) / (step + 1 - first)
            left = pace * (len(plan) - step) / 60
            print(f"step {step + 1} of {len(plan)}: loss {total_loss / 50:.4f}, {left:.0f} min left", flush=True)
            total_loss = 0.0
        if (step + 1) % SAVED == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
            torch.save(state | {"dropout": torch.get_rng_state(), "step": step + 1}, work / "checkpoint.partial")
            (work / "checkpoint.partial").rename(checkpoint)
    return model.eval()


def chosen(prompts: Path, work: Path, seed: int, limit: int) -> list[Row]:
    """The training rows, which are kept in rows.json and then stay as they are."""
    path = work / "rows.json"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        rows = far(training(prompts, seed, limit))
        path.write_text(json.dumps([[r.prompt, r.response, r.unsafe, r.source, r.kind] for r in rows]))
    return [Row(*one) for one in json.loads(path.read_text())]


def main() -> None:
    """Collect, drop what is near, train, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path, required=True, help="from testbed/prompts.py")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints and the weights")
    parser.add_argument("--limit", type=int, default=2000, help="rows per part of a set, times its share")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = chosen(options.prompts, options.work, options.seed, options.limit)
    print(f"{len(rows)} rows", flush=True)
    model = fit(rows, options.work, options.seed)
    path = options.work / "guard.safetensors"
    save_file(model.shipped(), path)
    path.chmod(0o644)  # safetensors writes 0600, which an installed wheel would keep
    print(f"{path}: {path.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main()
