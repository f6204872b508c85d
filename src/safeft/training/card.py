"""The model card that travels in the adapter's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from safeft.runs import versions, write_text
from safeft.training.schema import Recipe


def write_card(
    folder: Path,
    recipe: Recipe,
    model: str,
    epoch: int,
    facts: dict[str, Any],
    cost: dict[str, Any],
) -> None:
    """README.md with the recipe, the data's fingerprint, the counts, the cost and the versions."""
    rows, stack = facts["rows"], ", ".join(f"{k} {v}" for k, v in versions().items())
    settings = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).strip()
    write_text(
        folder / "README.md",
        f"""---
base_model: {model}
library_name: peft
tags: [safeft, lora]
---
# {recipe.name}, epoch {epoch}

{recipe.summary}

LoRA adapter of `{model}` (weights {str(facts["model_hash"])[:12]}), training seed {facts["seed"]}.

| | |
|---|---|
| data | fingerprint {facts["data_fingerprint"][:12]}, {rows["rows"]} rows after the methods |
| tokens per epoch | {rows["tokens"]} ({rows["supervised"]} trained) |
| truncated, fully masked rows | {rows["truncated"]}, {rows["fully_masked"]} |
| methods | {facts["methods"] or "none"} |
| cost of all epochs | {cost["seconds"]:.0f} s, {cost["tokens"]} tokens, \
{cost["peak_memory_bytes"] / 2**20:.0f} MiB peak |
| versions | {stack} |

A safety measurement is not part of this card: run `safeft eval` on the adapter that you ship.

```yaml
{settings}
```
""",
    )
