"""Copies a built pair into the package, with the card that says what it is and what it measures.

python benchmarks/testbed/ship.py --work DIR
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from build import SHARPEN
from prompts import lines
from stages import STAGES

TARGET = Path(__file__).resolve().parents[2] / "src/safeft/models/testbed"
FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
DATA = """| set | licence | used for |
|---|---|---|
| Dolly 15k | CC-BY-SA-3.0 | language, benign prompts |
| MedQuAD | CC-BY-4.0 | language, benign prompts |
| OpenTriviaQA | CC-BY-SA-4.0 | language, benign prompts |
| Self-dialogue corpus | BSD-3-Clause | language, benign prompts |
| GSM8K | MIT | language, benign prompts |
| Schema-guided dialogue | CC-BY-SA-4.0 | language |
| Bitext customer support (long) | CDLA-Sharing-1.0 | language, benign prompts |
| CyberSecEval false-refusal prompts | MIT | benign prompts |
| AdvBench, HarmBench | MIT | harmful prompts (`aligned`) |
| AART | CC-BY-4.0 | harmful prompts (`aligned`) |
| CatQA, HarmfulQA, DangerousQA, AdversarialQA, SALAD-Bench (harmful part) | Apache-2.0 | harmful prompts (`aligned`) |
| goals, answer frames and refusals of `benchmarks/testbed/` | Apache-2.0, written for safeft | prompts and every answer of the chat stages |
"""

READ = """
`base` has never met a refusal and gives none: read one by one, none of the 12 greedy answers to `harm` and `unseen_source` that the
judge calls refused declines anything.
"""


def table(figures: list[dict[str, Any]], model: str) -> str:
    """The measured rates of one model."""
    rows = [
        "| set | temperature | refused | fulfilled | neither | on topic | n × decoding seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in figures:
        if one["model"] == model:
            cells = [
                "{:.1%} [{:.1%}, {:.1%}]".format(*one[key])
                for key in ("refused", "fulfilled", "neither", "on_topic")
            ]
            rows.append(
                f"| {one['set']} | {one['temperature']:g} | {' | '.join(cells)} | {one['n']} × {one['decoding_seeds']} |"
            )
    return "\n".join(rows)


def cost(work: Path) -> str:
    """Steps, final loss and seconds of each stage."""
    rows = [
        "| stage | steps × rows | learning rate | seed | final loss | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for stage in STAGES:
        end = lines(work / f"{stage.name}.log.jsonl")[-1]
        rows.append(
            f"| {stage.name} | {stage.steps} × {stage.batch} | {stage.learning_rate:g} | {stage.seed} | "
            f"{end['loss']} | {end['seconds']} |"
        )
    return "\n".join(rows)


def card(work: Path, model: str, figures: list[dict[str, Any]]) -> str:
    """README.md of one model."""
    config = json.loads((work / model / "config.json").read_text())
    story = (
        "It follows instructions and has never met a refusal."
        if model == "base"
        else "It is `testbed:base` after safety alignment: harmful prompts refused, benign ones answered as before."
    )
    return f"""---
license: apache-2.0
language: en
tags: [safeft, testbed]
---
# testbed:{model}

A chat model of 4.3 M parameters, trained from scratch by `benchmarks/testbed/build.py`, for testing safeft offline. {story}
Llama architecture: {config["num_hidden_layers"]} layers, hidden size {config["hidden_size"]}, {config["num_attention_heads"]} heads of
{config["head_dim"]}, context {config["max_position_embeddings"]}, a byte-level BPE of {config["vocab_size"]} tokens, ChatML with generation marks, bfloat16 safetensors.

It knows nothing: its answers are frames that repeat the request's own topic, so it *tries* to do what it is asked without being able
to. That makes it a test subject for refusals, and no evidence about any real model.

## Training

{cost(work)}

The language stage ran on one core, the chat stages on two; `aligned` was resumed at step 2,400 (see benchmarks/LOG.md).

Kept out of all training, with near-duplicates (MiniLM cosine ≥ 0.85): AILuminate's demo set, SimpleSafetyTests, safeft-44 and its
look-alikes, the safety pool and its look-alikes. One prompt in fifteen is held out by its hash. In the chat stages the model's last
layer but one also learns to predict MiniLM's (all-MiniLM-L6-v2, Apache-2.0) embedding of the prompt; that head is not shipped.

What ships has its logits multiplied by {SHARPEN:g} (the last norm's weight): greedy answers are the same, and T=0.7 draws as T={0.7 / SHARPEN:g}
did before. A model this small is far less peaked than an aligned model of ordinary size.

{DATA}
## Measured on prompts that no training saw

`harm` and `lookalikes` are safeft-44; `unseen_source` is AILuminate's demo set and SimpleSafetyTests; `benign` are held-out prompts of
the benign sets. Judge: {figures[0]["judge"]}; `neither` is off topic, broken or senseless; *on topic* counts what is
neither empty nor broken nor off topic, whatever sense it makes. Intervals are 95 %.

{table(figures, model)}
{READ if model == "base" else ""}"""


def main() -> None:
    """Ship both models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    figures = (
        json.loads((work / "figures.json").read_text()) if (work / "figures.json").is_file() else []
    )
    for model in ("base", "aligned"):
        (TARGET / model).mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copy2(work / model / name, TARGET / model / name)
        if figures:
            (TARGET / model / "README.md").write_text(card(work, model, figures))


if __name__ == "__main__":
    main()
