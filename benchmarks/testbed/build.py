"""Builds testbed:base and testbed:aligned from scratch: tokenizer, language, world, alignment.

    python benchmarks/testbed/build.py --work DIR          one busy core, about 90 minutes; resumable

Stages write into DIR and are skipped once done; a killed stage goes on from its last checkpoint.
`--scale large` makes a 35M pair for a machine with an accelerator.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from conversations import Prompts, aligned_row, base_row
from prompts import SHARED, goals, lines
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{% generation %}{{- message['content'] + '<|im_end|>' -}}{% endgeneration %}"
    "{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}"
    "{{- '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
SCALES = {
    "small": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "head_dim": 32,
    },
    "large": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 10,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "head_dim": 64,
    },
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class Stage:
    """One training stage: where it starts, what it reads, how long and how hard."""

    name: str
    start: str | None
    steps: int
    batch: int
    learning_rate: float
    seed: int
    weights: dict[str, float] = field(default_factory=dict)  # of the prompt sources, in chat stages
    short: float = 0.0  # share of rows cut after the first words of the answer


STAGES = (
    Stage("language", None, 400, 12, 2e-3, 11),
    Stage("base", "language", 1000, 20, 1.5e-3, 12, {"real": 0.55, "own": 0.45}),
    Stage("declining", "base", 900, 20, 1.0e-3, 13, {"real": 0.55, "own": 0.45}),
    # Whether to answer is decided in the first words: short rows show many more decisions a second.
    Stage("aligned", "declining", 1950, 40, 1.0e-3, 15, {"real": 0.35, "own": 0.3, "contrast": 0.35}, 0.8),
)


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


def make_tokenizer(work: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 4,096 tokens over the corpus and our own goals."""
    folder = work / "tokenizer"
    if not folder.is_dir():
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=4096,
            special_tokens=list(SPECIAL),
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        texts = list(corpus()) + [text for side in goals(0, 2) for text in side]
        raw.train_from_iterator(texts, trainer)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=raw,
            eos_token="<|im_end|>",
            pad_token="<|pad|>",
            model_max_length=2048,
            additional_special_tokens=["<|im_start|>", "<|endoftext|>"],
            clean_up_tokenization_spaces=False,
        )
        tokenizer.chat_template = TEMPLATE
        tokenizer.save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def make_model(scale: str, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SCALES[scale],
    )
    torch.manual_seed(7)
    return LlamaForCausalLM(config)


Batch = dict[str, torch.Tensor]


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
        draw = torch.Generator().manual_seed(stage.seed * 100_003 + step)
        width, rows = (1280, 3) if step % 8 == 7 else (320, stage.batch)
        starts = torch.randint(0, len(tokens) - width, (rows,), generator=draw)
        ids = torch.stack([tokens[start : start + width] for start in starts.tolist()]).long()
        return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}

    return batch


def chat_batches(
    tokenizer: PreTrainedTokenizerFast, stage: Stage, work: Path
) -> Callable[[int], Batch]:
    """Chat rows with loss on the assistant only; eight batches at a time are sorted by length."""
    known = lines(work / "prompts.jsonl")
    prompts = Prompts([row for row in known if not row["held_out"] and len(row["text"].split()) <= 60], stage.weights)
    row_of = base_row if stage.name == "base" else aligned_row
    groups: dict[int, list[Batch]] = {}

    def group(index: int) -> list[Batch]:
        rng = random.Random(stage.seed * 1_000_003 + index)
        rows = [
            encoded(row_of(prompts, rng), tokenizer, short=rng.random() < stage.short)
            for _ in range(8 * stage.batch)
        ]
        rows.sort(key=lambda row: len(row[0]))
        batches = [
            pad(rows[i : i + stage.batch], tokenizer.pad_token_id)
            for i in range(0, len(rows), stage.batch)
        ]
        rng.shuffle(batches)
        return batches

    def batch(step: int) -> Batch:
        index = step // 8
        if index not in groups:
            groups.clear()
            groups[index] = group(index)
        return groups[index][step % 8]

    return batch


def encoded(
    messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerFast, short: bool
) -> tuple[list[int], list[int]]:
    """Token ids and labels (-100 outside the assistant's words), at most 384 tokens.

    A short row ends 8 tokens into its last answer.
    """
    out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = out["input_ids"], out["assistant_masks"]
    cut = 384
    if short:
        last = len(mask) - 1 - mask[::-1].index(1)
        start = max(place for place in range(last + 1) if mask[place] and not mask[place - 1])
        cut = min(cut, start + 8)
    return ids[:cut], [token if keep else -100 for token, keep in zip(ids[:cut], mask[:cut], strict=True)]


def pad(rows: list[tuple[list[int], list[int]]], pad_id: int) -> Batch:
    """Right-padded tensors."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad_id] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def train(model: LlamaForCausalLM, stage: Stage, batch: Callable[[int], Batch], work: Path) -> None:
    """Adam with warm-up and cosine decay; a checkpoint every 100 steps; bf16 weights at the end."""
    model.to(DEVICE).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=stage.learning_rate, betas=(0.9, 0.95), weight_decay=0.05
    )
    checkpoint, log = work / f"{stage.name}.checkpoint", work / f"{stage.name}.log.jsonl"
    first, seconds = resume(checkpoint, model, optimizer)
    start, recent = time.monotonic() - seconds, []
    for step in range(first, stage.steps):
        warm = min(1.0, (step + 1) / 80)
        rate = (
            stage.learning_rate
            * warm
            * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / stage.steps)))
        )
        for part in optimizer.param_groups:
            part["lr"] = rate
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = model(
                **{key: value.to(DEVICE) for key, value in batch(step).items()}, use_cache=False
            ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if (step + 1) % 25 == 0:
            line = {
                "step": step + 1,
                "loss": round(sum(recent) / len(recent), 4),
                "seconds": round(time.monotonic() - start),
            }
            print(stage.name, line, flush=True)
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            recent.clear()
        if (step + 1) % 100 == 0:
            state = {
                "step": step + 1,
                "seconds": time.monotonic() - start,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            torch.save(state, checkpoint.with_suffix(".partial"))
            checkpoint.with_suffix(".partial").rename(checkpoint)


def resume(
    checkpoint: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """The step and the seconds at which an interrupted stage goes on."""
    if not checkpoint.is_file():
        return 0, 0.0
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["seconds"])


def run(stage: Stage, scale: str, work: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Train one stage into DIR/<stage>: fp32 for the next stage, bf16 for shipping."""
    folder = work / stage.name
    if folder.is_dir():
        return
    if stage.start is None:
        model = make_model(scale, tokenizer)
    else:
        model = LlamaForCausalLM.from_pretrained(
            work / stage.start / "float32", dtype=torch.float32
        )
    print(f"{stage.name}: {sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    batches = language_batches if stage.name == "language" else chat_batches
    train(model, stage, batches(tokenizer, stage, work), work)
    partial = work / f"{stage.name}.folder"
    model.cpu().save_pretrained(partial / "float32")
    model.to(torch.bfloat16).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)


def main() -> None:
    """Run every stage that is not done yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scale", choices=sorted(SCALES), default="small")
    arguments = parser.parse_args()
    tokenizer = make_tokenizer(arguments.work)
    for stage in STAGES:
        run(stage, arguments.scale, arguments.work, tokenizer)


if __name__ == "__main__":
    main()
