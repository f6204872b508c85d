"""The model before training: with its adapter switched off, as every anchor compares with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

from safeft.data.masks import Encoded
from safeft.data.sets import IGNORED
from safeft.models.quantized import evaluating
from safeft.training.methods.terms import Setup
from safeft.training.ranks import leader_first

ROWS = 16  # rows of one pass of the reference


@contextmanager
def before_training(model: Any) -> Iterator[None]:
    """Inside, a model computes as it did before training: no adapter, dropout or gradient.

    One without an adapter does so before its first step alone.
    """
    import torch

    switched = getattr(model, "disable_adapter", nullcontext)
    with evaluating(model), torch.no_grad(), switched():
        yield


def padded(rows: Sequence[Encoded], pad: int, device: Any) -> dict[str, Any]:
    """`input_ids`, `attention_mask` and `labels` of rows, padded at the right: (rows, longest)."""
    import torch

    longest = max(len(row.ids) for row in rows)
    shape = (len(rows), longest)
    ids = torch.full(shape, pad, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    for place, row in enumerate(rows):
        end = len(row.ids)
        ids[place, :end] = torch.tensor(row.ids)
        mask[place, :end] = 1
        trained = torch.tensor(row.loss_mask)
        labels[place, :end] = ids[place, :end].where(trained, torch.tensor(IGNORED))
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: value.to(device) for name, value in batch.items()}


def supervised_logits(model: Any, batch: dict[str, Any]) -> Any:
    """Logits where a label is trained: (supervised tokens, vocabulary), float32."""
    plain = {name: value for name, value in batch.items() if name not in ("labels", "use_cache")}
    mask = batch["labels"][:, 1:] != IGNORED
    # Of a column that no row is trained in, such as the prompts', nothing need be computed.
    columns = mask.any(0).nonzero().flatten()
    logits = model(**plain, use_cache=False, logits_to_keep=columns).logits
    return logits[mask[:, columns]].float()


def documents(inputs: Any) -> Iterator[tuple[int, int, int]]:
    """Row, first and last-plus-one token of each document of a batch, packed or padded."""
    if "position_ids" in inputs:
        for row, positions in enumerate(inputs["position_ids"]):
            starts = (positions == 0).nonzero().flatten().tolist()
            for start, end in pairwise([*starts, len(positions)]):
                yield row, start, end
        return
    for row, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
        yield row, 0, length


class LogProbs:
    """The reference's log-probabilities of all labels, computed once and kept in the run's folder.

    They are found again by a document's tokens, so that no packing or shuffling loses them.
    """

    def __init__(self, setup: Setup) -> None:
        from safetensors.torch import load_file

        path = setup.work / "reference.safetensors"
        with leader_first():
            if not path.is_file():
                _write(path, setup)
        self._found = load_file(path)

    def of(self, inputs: Any, mask: Any) -> Any:
        """(batch, length − 1), zero where `mask` of the same shape is false."""
        return found_again(self._found, inputs, mask)


def found_again(found: Mapping[str, Any], inputs: Any, mask: Any) -> Any:
    """What `found` has for each label of a batch's documents, by `document_key`.

    (batch, length − 1), zero where `mask` of the same shape is false.
    """
    import torch

    values = torch.zeros(mask.shape, device=mask.device)
    ids, trained = inputs["input_ids"].cpu(), mask.cpu()
    for row, start, end in documents(inputs):
        labels = trained[row, start : end - 1]
        if labels.any():
            known = found[document_key(ids[row, start:end], labels)]
            values[row, start : end - 1] = known.to(values.device)
    return values


def _write(path: Path, setup: Setup) -> None:
    """All rows once, the long ones together; the file is there when it is whole."""
    from safetensors.torch import save_file

    found: dict[str, Any] = {}
    ordered = sorted(setup.rows, key=lambda row: len(row.ids))
    with before_training(setup.model), setup.autocast():
        for start in range(0, len(ordered), ROWS):
            _score(ordered[start : start + ROWS], setup, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(found, partial)
    partial.replace(path)


def _score(rows: Sequence[Encoded], setup: Setup, found: dict[str, Any]) -> None:
    batch = padded(rows, setup.tokenizer.pad_token_id, setup.model.device)
    outputs = setup.model(**batch, fused_lm_head=True, use_cache=False)
    log_probs, ids = outputs.log_probs.float().cpu(), batch["input_ids"].cpu()
    for place, row in enumerate(rows):
        end = len(row.ids)
        labels = outputs.label_mask[place, : end - 1].cpu()
        found[document_key(ids[place, :end], labels)] = log_probs[place, : end - 1].clone()


def document_key(ids: Any, labels: Any) -> str:
    """A document's name: what it says, and which of it is trained."""
    content = ids.numpy().tobytes() + labels.numpy().tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
