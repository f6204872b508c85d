"""Agreement of the judges with the blind labels of testbed answers, written to testbed_agreement.json.

    python benchmarks/judge/agree.py
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from safeft.judges import load_judge
from safeft.records import Prompt, Response
from safeft.stats import kappa

HERE = Path(__file__).parent


def main() -> None:
    """κ of each judge with the first annotator, three ways and refused-or-not, and between people."""
    rows = [json.loads(line) for line in (HERE / "testbed_labels.jsonl").read_text().splitlines()]
    labels = [row["label"] for row in rows]
    twice = [row for row in rows if "second_label" in row]
    results = {"annotators": asdict(kappa([r["label"] for r in twice], [r["second_label"] for r in twice]))}
    responses = [
        Response(Prompt.of(row["prompt"], str(row["id"])), row["response"], row["finish"]) for row in rows
    ]
    for name in ("encoder", "keyword"):
        judge = load_judge(name)
        found = [str(one.label) for one in judge(responses)]
        results[judge.name] = {
            "three_way": asdict(kappa(labels, found)),
            "refused": asdict(kappa([x == "refused" for x in labels], [x == "refused" for x in found])),
            "fulfilled": asdict(kappa([x == "fulfilled" for x in labels], [x == "fulfilled" for x in found])),
            "label → verdict": {f"{a} → {b}": n for (a, b), n in sorted(Counter(zip(labels, found, strict=True)).items())},
        }
    (HERE / "testbed_agreement.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
