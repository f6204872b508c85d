"""The model card that travels in the adapter's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from safeft.runs import versions, write_text
from safeft.training.advice import evidence
from safeft.training.schema import Recipe

_CARD = """---
base_model: {model}
library_name: {library}
tags: [safeft, {kind}]
---
# {name}, epoch {epoch}

{summary}

{made} `{model}` (weights {weights}), training seed {seed}.{beside}

| | |
|---|---|
| data | fingerprint {data}, {rows} rows after the methods |
| tokens per epoch | {tokens} ({supervised} trained) |
| truncated, fully masked rows | {truncated}, {fully_masked} |
| methods | {methods} |
| cost of all epochs | {cost} |
| versions | {versions} |

A safety measurement is not part of this card: run `safeft eval` on the adapter that you ship.
{known}
```yaml
{settings}
```
"""


def write_card(
    folder: Path,
    recipe: Recipe,
    model: str,
    epoch: int,
    facts: dict[str, Any],
    cost: dict[str, Any],
) -> None:
    """README.md with the recipe, the data's fingerprint, the counts, the cost and the versions."""
    text = _CARD.format(
        model=model,
        name=recipe.name,
        epoch=epoch,
        summary=recipe.summary,
        **_kind(recipe),
        weights=facts["model_hash"].rpartition("@")[2][:12],
        seed=facts["seed"],
        data=facts["data_fingerprint"][:12],
        methods=facts["methods"] or "none",
        cost=_cost(cost),
        known=_known(recipe),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        settings=yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).strip(),
        **facts["rows"],
    )
    write_text(folder / "README.md", text)


def _known(recipe: Recipe) -> str:
    """What was measured of the recipe elsewhere, for and against it."""
    named = dict.fromkeys((recipe.name, *(one.name for one in recipe.methods)))
    lines = [f"- `{name}`: {evidence()[name]}" for name in named if name in evidence()]
    return "\n## What is known of it\n\n" + "\n".join(lines) + "\n" if lines else ""


def _kind(recipe: Recipe) -> dict[str, str]:
    """What lies in the folder, and beside which weights it was trained."""
    if recipe.lora is None:
        made = "Full fine-tune (a whole model, all weights trained) of"
        return {"library": "transformers", "kind": "full", "made": made, "beside": ""}
    bits = recipe.quantization
    beside = (
        f" It was trained beside that model in {bits} (bitsandbytes). Merged into the weights in "
        "full precision, or quantised anew, it answers otherwise: evaluate what you ship."
        if bits
        else ""
    )
    return {"library": "peft", "kind": "lora", "made": "LoRA adapter of", "beside": beside}


def _cost(cost: dict[str, Any]) -> str:
    memory = cost["peak_memory_bytes"] / 2**20
    text = f"{cost['seconds']:.0f} s, {cost['tokens']} tokens, {memory:.0f} MiB peak"
    written = f", and {cost['generation_seconds']:.0f} s in which the model wrote its own rows"
    return text + (written if cost["generation_tokens"] else "")
