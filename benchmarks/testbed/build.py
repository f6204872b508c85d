"""Builds testbed:base and testbed:aligned from scratch: tokenizer, language, world, alignment.

    torchrun --nproc-per-node 2 benchmarks/testbed/build.py --work DIR     two cores; resumable

Stages write into DIR and are skipped once done; a killed stage goes on from its last checkpoint.
`--scale large` makes a 35M pair for a machine with an accelerator. DIR holds prompts.jsonl and
teacher.npy, both written by prompts.py.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from batches import RANK, WORLD, Batch, chat_batches, corpus, language_batches
from prompts import goals
from stages import STAGES, Stage
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.nn.parallel import DistributedDataParallel
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
TEACHER_WIDTH = 384
# A model this small spreads its probability far wider at T=0.7 than an aligned model of ordinary size. What ships
# has its logits doubled, in the last norm: greedy answers stay bit for bit, and a temperature means what users expect.
SHARPEN = 2.0


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


class Learner(nn.Module):
    """The model and its losses: the next token and, in chat stages, the teacher's embedding.

    A model this small has met few words. Having to place each prompt where a sentence encoder
    (MiniLM, Apache-2.0) places it, in its last layer but one, teaches it which words are alike, so
    that its refusals reach prompts that it has not seen.
    """

    def __init__(self, model: LlamaForCausalLM, weight: float) -> None:
        super().__init__()
        self.model = model
        self.weight = weight
        self.reader = nn.Linear(model.config.hidden_size, TEACHER_WIDTH) if weight else None

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        attention_mask: torch.Tensor,
        places: torch.Tensor | None = None,
        teacher: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The loss; logits are computed only where there is something to predict."""
        out = self.model.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=False,
            output_hidden_states=self.reader is not None,
        )
        labels = labels[:, 1:]
        told = labels != -100
        loss = cross_entropy(self.model.lm_head(out.last_hidden_state[:, :-1][told]), labels[told])
        if self.reader is None or places is None or teacher is None:
            return loss
        read = self.reader(out.hidden_states[-2][places[:, 0], places[:, 1]])
        # Summed over a possibly empty set: every rank must touch the reader in every step.
        apart = (1 - cosine_similarity(read, teacher, dim=-1)).sum() / max(1, len(teacher))
        return loss + self.weight * apart


def train(model: LlamaForCausalLM, stage: Stage, batch: Callable[[int], Batch], work: Path) -> None:
    """Adam with warm-up and cosine decay; a checkpoint every 100 steps."""
    torch.manual_seed(stage.seed)
    learner = Learner(model, stage.teacher if stage.weights else 0.0).to(DEVICE).train()
    optimizer = torch.optim.AdamW(
        learner.parameters(),
        lr=stage.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        fused=True,
    )
    checkpoint, log = work / f"{stage.name}.checkpoint", work / f"{stage.name}.log.jsonl"
    first, seconds = resume(checkpoint, learner, optimizer)
    model.model.compile(dynamic=True)
    loss_of = DistributedDataParallel(learner) if WORLD > 1 else learner
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
            loss = loss_of(**{key: value.to(DEVICE) for key, value in batch(step).items()})
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if RANK == 0 and (step + 1) % 25 == 0:
            line = {
                "step": step + 1,
                "loss": round(sum(recent) / len(recent), 4),
                "seconds": round(time.monotonic() - start),
            }
            print(stage.name, line, flush=True)
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            recent.clear()
        if RANK == 0 and (step + 1) % 100 == 0:
            state = {
                "step": step + 1,
                "seconds": time.monotonic() - start,
                "model": learner.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            torch.save(state, checkpoint.with_suffix(".partial"))
            checkpoint.with_suffix(".partial").rename(checkpoint)


def resume(
    checkpoint: Path, learner: Learner, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """The step and the seconds at which an interrupted stage goes on."""
    if not checkpoint.is_file():
        return 0, 0.0
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    learner.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["seconds"])


def run(stage: Stage, scale: str, work: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Train one stage into DIR/<stage>: fp32 for the next stage, bf16 with sharper logits for shipping."""
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
    if RANK == 0:
        partial = work / f"{stage.name}.folder"
        model.cpu().save_pretrained(partial / "float32")
        model.model.norm.weight.data *= SHARPEN
        model.to(torch.bfloat16).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)
    if WORLD > 1:
        distributed.barrier()


def main() -> None:
    """Run every stage that is not done yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scale", choices=sorted(SCALES), default="small")
    arguments = parser.parse_args()
    if WORLD > 1:
        distributed.init_process_group("gloo" if DEVICE == "cpu" else "nccl")
    tokenizer = make_tokenizer(arguments.work)
    for stage in STAGES:
        run(stage, arguments.scale, arguments.work, tokenizer)


if __name__ == "__main__":
    main()
