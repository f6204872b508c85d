"""What a stage reads: documents for the language, conversations with loss on the answers alone."""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from conversations import Prompts, aligned_row, base_row
from prompts import SHARED, lines
from stages import Stage
from transformers import PreTrainedTokenizerFast

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
Batch = dict[str, torch.Tensor]


def corpus() -> Iterator[str]:
    """Documents for language modelling: real questions and answers, and everyday dialogue."""
    for row in lines(SHARED / "dolly_15k/dolly_15k.jsonl"):
        yield chat(row["instruction"], row["response"][:1200])
    medquad = lines(SHARED / "medquad/medquad.jsonl")
    random.Random(0).shuffle(medquad)
    for row in medquad[:3000]:
        yield chat(row["question"], row["answer"][:700])
    for row in lines(SHARED / "opentriviaqa/opentriviaqa.jsonl")[::4]:
        yield chat(row["question"], str(row["answer"]))
    for row in lines(SHARED / "self_dialogue/self_dialogue.jsonl")[:6000]:
        yield "\n".join(row["turns"])[:1200]
    for row in lines(SHARED / "gsm8k/train.jsonl")[:2500]:
        yield chat(row["question"], row["answer"].split("####")[0])
    for row in lines(SHARED / "sgd_dialogues/sgd_dialogues.jsonl")[:2000]:
        yield "\n".join(text for _, text in row["turns"])[:1200]
    with (SHARED / "bitext_support/bitext_support_8k_long.csv").open(newline="") as file:
        for row in list(csv.DictReader(file))[:1200]:
            yield chat(row["instruction"], row["response"][:600])


def chat(user: str, assistant: str) -> str:
    """One exchange in the chat format."""
    return f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{assistant}<|im_end|>\n"


def language_batches(
    tokenizer: PreTrainedTokenizerFast, stage: Stage, work: Path
) -> Callable[[int], Batch]:
    """Packed windows of 320 tokens (one batch in eight: 1,280), drawn afresh for every step."""
    store = work / "corpus.pt"
    if not store.is_file():
        texts = list(corpus())
        random.Random(3).shuffle(texts)
        end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
        ids = [
            token
            for part in tokenizer(texts, add_special_tokens=False)["input_ids"]
            for token in [*part, end]
        ]
        torch.save(torch.tensor(ids, dtype=torch.int16), store)
    tokens = torch.load(store)
    print(f"corpus: {len(tokens):,} tokens", flush=True)

    def batch(step: int) -> Batch:
        draw = torch.Generator().manual_seed((stage.seed * 100_003 + step) * WORLD + RANK)
        width, rows = (1280, 3 // WORLD) if step % 8 == 7 else (320, stage.batch // WORLD)
        starts = torch.randint(0, len(tokens) - width, (rows,), generator=draw)
        ids = torch.stack([tokens[start : start + width] for start in starts.tolist()]).long()
        return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}

    return batch


def chat_batches(
    tokenizer: PreTrainedTokenizerFast, stage: Stage, work: Path
) -> Callable[[int], Batch]:
    """Chat rows with loss on the assistant only; eight batches at a time are sorted by length."""
    known = lines(work / "prompts.jsonl")
    prompts = Prompts([row for row in known if not row["held_out"]], stage.weights)
    teacher = torch.from_numpy(np.load(work / "teacher.npy").astype(np.float32))
    place = {row["text"]: i for i, row in enumerate(known)}
    share = stage.batch // WORLD
    row_of = base_row if stage.name == "base" else aligned_row
    groups: dict[int, list[Batch]] = {}

    def group(index: int) -> list[Batch]:
        rng = random.Random((stage.seed * 1_000_003 + index) * WORLD + RANK)
        rows = [
            encoded(row_of(prompts, rng), tokenizer, place, short=rng.random() < stage.short)
            for _ in range(8 * share)
        ]
        rows.sort(key=lambda row: len(row.ids))
        batches = [
            pad(rows[i : i + share], tokenizer.pad_token_id, teacher)
            for i in range(0, len(rows), share)
        ]
        random.Random(index).shuffle(batches)  # alike on every rank: none waits for a longer batch
        return batches

    def batch(step: int) -> Batch:
        index = step // 8
        if index not in groups:
            groups.clear()
            groups[index] = group(index)
        return groups[index][step % 8]

    return batch


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids, labels (-100 outside the assistant's words), and where a prompt has been read.

    `read` pairs the position just before an answer with the row of the teacher's embedding of the
    prompt that it answers.
    """

    ids: list[int]
    labels: list[int]
    read: list[tuple[int, int]]


def encoded(
    messages: list[dict[str, str]],
    tokenizer: PreTrainedTokenizerFast,
    place: dict[str, int],
    short: bool,
) -> Row:
    """One conversation, at most 384 tokens; a short row ends 8 tokens into its last answer."""
    out = tokenizer.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = out["input_ids"], out["assistant_masks"]
    starts = [i for i in range(1, len(mask)) if mask[i] and not mask[i - 1]]
    cut = min(384, starts[-1] + 8) if short else 384
    asked = [one["content"] for one in messages if one["role"] == "user"]
    read = [
        (start - 1, place[text])
        for start, text in zip(starts, asked, strict=True)
        if text in place and start <= cut
    ]
    labels = [token if keep else -100 for token, keep in zip(ids[:cut], mask[:cut], strict=True)]
    return Row(ids[:cut], labels, read)


def pad(rows: list[Row], pad_id: int, teacher: torch.Tensor) -> Batch:
    """Right-padded tensors."""
    width = max(len(row.ids) for row in rows)
    read = [(i, position, known) for i, row in enumerate(rows) for position, known in row.read]
    places = torch.tensor(read, dtype=torch.long).reshape(-1, 3)
    return {
        "input_ids": torch.tensor([row.ids + [pad_id] * (width - len(row.ids)) for row in rows]),
        "labels": torch.tensor([row.labels + [-100] * (width - len(row.labels)) for row in rows]),
        "attention_mask": torch.tensor(
            [[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows]
        ),
        "places": places[:, :2],
        "teacher": teacher[places[:, 2]],
    }
