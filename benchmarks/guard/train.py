"""Trains the guard's head on cached MiniLM embeddings, and measures it on what it never saw.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/guard/train.py \
        --prompts ../testbed/prompts.jsonl --work ../guard

Writes guard.safetensors and its card guard.json into src/safeft/guarding/weights (or --out).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rows import LICENCES, TEST_QUESTIONS, Row, never_near, testing, training
from safetensors.numpy import save_file

from safeft.guarding.head import GUARD_PARITY, STEP, WINDOW, Head, features, read, windows
from safeft.guarding.rows import marks
from safeft.models.encoder import HUB_ID, SHA256
from safeft.stats import proportion

NEAR = 0.85
WIDTH, EPOCHS, BATCH, RATE, DECAY, DROPOUT = 64, 12, 128, 1e-3, 0.02, 0.3
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CHUNK = 512

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Every pair of windows of some rows: indices into the embeddings and the row it is from."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    row: NDArray[np.int64]


def embed(texts: list[str], work: Path) -> Floats:
    """Embeddings of `texts`, shape (n, 384), in chunks that a later run finds again in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    parts: list[Floats] = []
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        digest = hashlib.sha256(json.dumps([SHA256, chunk]).encode()).hexdigest()[:16]
        path = work / f"embedded-{digest}.npy"
        if not path.is_file():
            partial = path.with_suffix(".partial.npy")
            np.save(partial, read(chunk))
            partial.rename(path)
            print(f"embedded {start + len(chunk)} of {len(texts)}", flush=True)
        parts.append(np.load(path))
    return np.concatenate(parts)


def pairs(rows: list[Row], index: dict[str, int]) -> Pairs:
    """The window pairs of `rows`, in the order of the rows."""
    found = [
        (index[left], index[right], number)
        for number, row in enumerate(rows)
        for left in windows(row.prompt)
        for right in windows(row.response)
    ]
    left, right, number = np.array(found, dtype=np.int64).T
    return Pairs(left, right, number)


def far(rows: list[Row], index: dict[str, int], embedded: Floats) -> list[Row]:
    """`rows` without those whose prompt comes near one that is kept out."""
    references = embedded[[index[text[:WINDOW]] for text in never_near()]].T
    prompts = sorted({row.prompt for row in rows})
    near = {p for p in prompts if (embedded[index[windows(p)[0]]] @ references).max() >= NEAR}
    kept = [row for row in rows if row.prompt not in near]
    print(f"{len(rows) - len(kept)} of {len(rows)} training rows are near what is kept out")
    return kept


def fit(rows: list[Row], at: Pairs, embedded: Floats, seed: int) -> dict[str, Floats]:
    """A head trained as it is used: the worst pair of windows speaks for the row."""
    torch.manual_seed(seed)
    hidden, out = torch.nn.Linear(4 * embedded.shape[1], WIDTH), torch.nn.Linear(WIDTH, 1)
    drop = torch.nn.Dropout(DROPOUT)
    parameters = [*hidden.parameters(), *out.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    truth = np.array([row.unsafe for row in rows], dtype=np.float32)
    balance = torch.tensor((1 - truth).sum() / truth.sum())
    first = np.searchsorted(at.row, np.arange(len(rows) + 1))
    order = np.random.default_rng(seed)
    for epoch in range(EPOCHS):
        losses = []
        for batch in np.array_split(order.permutation(len(rows)), max(1, len(rows) // BATCH)):
            here = np.concatenate([np.arange(first[one], first[one + 1]) for one in batch])
            owner = np.repeat(np.arange(len(batch)), first[batch + 1] - first[batch])
            inputs = torch.from_numpy(features(embedded[at.left[here]], embedded[at.right[here]]))
            scores = out(drop(torch.relu(hidden(drop(inputs)))))[:, 0]
            worst = torch.full((len(batch),), -torch.inf).scatter_reduce(
                0, torch.from_numpy(owner), scores, "amax"
            )
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                worst, torch.from_numpy(truth[batch]), pos_weight=balance
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    layers = {"hidden": hidden, "out": out}
    return {
        f"{name}.{kind}": getattr(layer, kind).detach().numpy()
        for name, layer in layers.items()
        for kind in ("weight", "bias")
    }


def predict(head: Head, rows: list[Row], at: Pairs, embedded: Floats) -> Floats:
    """P(unsafe) of each row, shape (len(rows),)."""
    worst = np.full(len(rows), -np.inf, dtype=np.float32)
    for here in np.array_split(np.arange(len(at.row)), 1 + len(at.row) // 4096):
        logits = head.logits(features(embedded[at.left[here]], embedded[at.right[here]]))
        np.maximum.at(worst, at.row[here], logits)
    return np.asarray(0.5 * (1 + np.tanh(worst / 2)), dtype=np.float32)


def auroc(truth: NDArray[np.bool_], scores: Floats) -> float:
    """The chance that an unsafe row scores above a safe one; ties count half."""
    unsafe, safe = scores[truth], np.sort(scores[~truth])
    below = np.searchsorted(safe, unsafe, "left") + np.searchsorted(safe, unsafe, "right")
    return float(below.mean() / (2 * len(safe)))


def rate(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """A share with its 95 % Wilson interval."""
    found = proportion(int(hits.sum()), len(hits))
    numbers = {"rate": found.estimate, "low": found.low, "high": found.high}
    return {name: round(value, 4) for name, value in numbers.items()} | {"n": found.n}


def measure(rows: list[Row], scores: Floats) -> dict[str, Any]:
    """Discrimination on GPTFuzz's held-out questions, and what each part loses at a threshold."""
    source = np.array([row.source for row in rows])
    truth = np.array([row.unsafe for row in rows])
    fuzz = source == "gptfuzz"
    hit = (scores >= 0.5) & fuzz
    right = int((hit & truth).sum())
    parts = sorted({(row.source, row.unsafe) for row in rows})
    return {
        "gptfuzz_held_out_questions": {
            "n": int(fuzz.sum()),
            "unsafe": int((fuzz & truth).sum()),
            "auroc": round(auroc(truth[fuzz], scores[fuzz]), 4),
            "f1_at_0.5": round(2 * right / int(hit.sum() + (fuzz & truth).sum()), 4),
        },
        "withheld": {
            f"{name}, {'unsafe' if unsafe else 'safe'}": {
                f"{threshold}": rate(scores[(source == name) & (truth == unsafe)] >= threshold)
                for threshold in THRESHOLDS
            }
            for name, unsafe in parts
        },
    }


def card(rows: list[Row], weights: Path, seed: int, measured: dict[str, Any]) -> dict[str, Any]:
    """Everything that guard.json says about the weights."""
    counts = Counter(f"{row.source}, {'unsafe' if row.unsafe else 'safe'}" for row in rows)
    return {
        "name": "encoder-guard",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "encoder": {"name": HUB_ID, "sha256": SHA256, "window": WINDOW, "step": STEP},
        "seed": seed,
        "training": {
            "rows": dict(sorted(counts.items())),
            "licences": LICENCES,
            "half": GUARD_PARITY,
            "held_out": f"GPTFuzz questions divisible by {TEST_QUESTIONS}; "
            f"prompts within cosine {NEAR} of the suites, the pools and XSTest",
            "head": {"width": WIDTH, "epochs": EPOCHS, "batch": BATCH, "rate": RATE}
            | {"decay": DECAY, "dropout": DROPOUT},
        },
        "rows": marks(row.response for row in rows),
        "measured": {"interval": "Wilson, 95 %, rows as if independent", **measured},
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    weights = Path(__file__).resolve().parents[2] / "src/safeft/guarding/weights"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path, required=True, help="from testbed/prompts.py")
    parser.add_argument("--work", type=Path, required=True, help="where embeddings are cached")
    parser.add_argument("--out", type=Path, default=weights)
    parser.add_argument("--limit", type=int, default=2000, help="rows per part of a set")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Collect, embed, drop what is near, train, write, measure."""
    options = arguments()
    random.seed(options.seed)
    learn = training(options.prompts, options.seed, options.limit)
    test = testing(options.prompts, options.seed, max(1, options.limit // 2))
    # What does not depend on --limit comes first, so that its chunks are found again.
    pieces = [text[:WINDOW] for text in never_near()]
    for row in (*test, *learn):
        pieces += windows(row.prompt) + windows(row.response)
    texts = list(dict.fromkeys(pieces))
    print(f"{len(learn)} training rows, {len(test)} test rows, {len(texts)} windows", flush=True)
    embedded = embed(texts, options.work)
    index = {text: number for number, text in enumerate(texts)}
    learn = far(learn, index, embedded)
    tensors = fit(learn, pairs(learn, index), embedded, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "guard.safetensors"
    save_file(tensors, path)
    path.chmod(0o644)  # safetensors writes 0600, which an installed wheel would keep
    head = Head(tensors, "")
    measured = measure(test, predict(head, test, pairs(test, index), embedded))
    written = card(learn, path, options.seed, measured)
    (options.out / "guard.json").write_text(json.dumps(written, indent=1) + "\n")
    print(json.dumps(measured["gptfuzz_held_out_questions"]))
    for name, at in measured["withheld"].items():
        print(f"{name}: {at['0.5']}")


if __name__ == "__main__":
    main()
