"""What is calibrated at the command line: benign prompts, a policy, and the command."""

from __future__ import annotations

import json
from pathlib import Path

from endpoint import Server

from safeft.assets import folder

GARDEN = [
    json.loads(line)["prompt"]
    for line in (folder("recipes") / "data/garden.jsonl").read_text().splitlines()[:60]
]
POLICY = {
    "name": "mine",
    "refusal": "Not today.",
    "output": {
        "judge": "examples",
        "examples": {
            "banking": ["Put your savings into this fund.", "Buy shares of this bank now."],
            "watering": ["Water the plants in your garden once a week."],
        },
        "threshold": 0.6,
        "categories": {"watering": {"threshold": 0.8}},
    },
}


def rows(path: Path, prompts: list[str]) -> Path:
    """Benign prompts as training data."""
    lines = [json.dumps({"prompt": one, "completion": "Well."}) + "\n" for one in prompts]
    path.write_text("".join(lines))
    return path


def asked(policy: Path, benign: Path, output: Path, *more: object) -> list[object]:
    """The command that calibrates the testbed."""
    small = ["--model", "testbed:aligned", "--max-new-tokens", 24, "--batch-size", 2]
    given = ["guard", "calibrate", "--policy", policy, "--benign", benign, "--output", output]
    return [*given, *(more or small), "--fpr", 0.2]


def local(server: Server) -> list[object]:
    """The options that ask the endpoint."""
    return ["--engine", server.url, "--model", "m", "--temperature", 0]
