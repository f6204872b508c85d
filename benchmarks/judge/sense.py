"""Trains the encoder judge's head for senseless answers: src/safeft/judges/weights/sense.{safetensors,json}.

    python benchmarks/judge/sense.py

Minutes on one core. Trained on the answers of testbed_labels.jsonl that were not called
refused, on right answers of Dolly and of XSTest's Mistral model, and on Dolly's with their words
shuffled. The card says how often right answers that it was not trained on (Dolly, MedQuAD, XSTest's
other models) are wronged; agree.py, how it agrees with labels that it was not trained on.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from fitting import logistic
from material import HERE, SHARED, Answer, dolly, jsonl, xstest

from safeft.guarding.rows import marks
from safeft.judges import EncoderJudge
from safeft.judges.coherence import MIN_WORDS
from safeft.judges.encoder import MAX_TOKENS
from safeft.judges.head import Floats, Head
from safeft.judges.sense import SENSE_WEIGHTS, sense_features
from safeft.judges.vocabulary import english
from safeft.models.encoder import HUB_ID, SHA256, encode
from safeft.records import Finish, Label, Prompt, Response
from safeft.stats import proportion

SEED = 77  # of what is sampled
PENALTY = 10.0  # of the squared norm
THRESHOLD = 0.5
SAMPLES = ("topic", "senseless", "check", "second_garden", "claim", "benchmark")  # of the labels
LICENCES = {
    "labelled": "benchmarks/judge/testbed_labels.jsonl, answers of the testbed models labelled by us: Apache-2.0",
    "dolly": "databricks-dolly-15k answers: CC-BY-SA-3.0",
    "scrambled": "databricks-dolly-15k answers with their words shuffled: CC-BY-SA-3.0",
    "dolly, first sentence": "the first sentences of these: CC-BY-SA-3.0",
    "mistralinstruct": "XSTest, compliant completions of Mistral-7B-Instruct (Apache-2.0): CC-BY-4.0",
    "mistralinstruct, first sentence": "the first sentences of these: CC-BY-4.0",
}
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One answer with its label; `sample` is the set that it came with."""

    response: Response
    label: str
    source: str
    sample: str = ""


def answered(row: Answer, label: str, source: str) -> Labelled:
    """An answer that stopped by itself."""
    return Labelled(Response(Prompt.of(row.prompt), row.response), label, source)


def ours() -> list[Labelled]:
    """The testbed answers that were labelled blind."""
    return [
        Labelled(
            _response(row["prompt"], row["response"], row["finish"]),
            row["label"],
            "labelled",
            row["sample"],
        )
        for row in jsonl(HERE / "testbed_labels.jsonl")
    ]


def _response(prompt: str, text: str, finish: Finish) -> Response:
    return Response(Prompt.of(prompt), text, finish)


def others() -> tuple[list[Labelled], list[Labelled]]:
    """Answers of people and larger models: to train on, and right ones to be tested on."""
    rows = dolly(1200, scrambled=600, seed=SEED)
    scrambled = [answered(row, "neither", "scrambled") for row in rows[1200:]]
    right = [answered(row, "fulfilled", "dolly") for row in rows[:1200]]
    said = {model: _compliant(model) for model in ("mistralinstruct", "gpt4", "llama2orig")}
    medical = random.Random(SEED).sample(jsonl(SHARED / "medquad" / "medquad.jsonl"), 300)
    cut = [
        Answer(r["question"], " ".join(r["answer"].split()[:110]), False, "medquad")
        for r in medical
    ]
    seen = right[:600] + said["mistralinstruct"]
    test = (
        right[600:]
        + [answered(row, "fulfilled", "medquad") for row in cut]
        + said["gpt4"]
        + said["llama2orig"]
    )
    return seen + short(seen) + scrambled[:300], test + short(right[600:])


def short(rows: Sequence[Labelled]) -> list[Labelled]:
    """The answers of several sentences, told in their first alone: brief is not broken."""
    split = ((row, _SENTENCE.split(row.response.text.strip())) for row in rows)
    first = (
        (row, parts[0])
        for row, parts in split
        if len(parts) > 1 and len(parts[0].split()) >= MIN_WORDS
    )
    return [
        Labelled(replace(row.response, text=text), row.label, f"{row.source}, first sentence")
        for row, text in first
    ]


def _compliant(model: str) -> list[Labelled]:
    return [answered(row, "fulfilled", model) for row in xstest(model) if not row.refused]


def embedded(rows: Sequence[Labelled]) -> Floats:
    """The features of each row."""
    whole = encode([row.response.text.strip() for row in rows], max_length=MAX_TOKENS)
    asked = encode([row.response.prompt.text for row in rows], max_length=MAX_TOKENS)
    return sense_features(
        [row.response for row in rows], whole, (whole * asked).sum(axis=1), english()
    )


def fit(rows: Sequence[Labelled], features_NF: Floats) -> Head:
    """P(neither), of answers that are not refusals; every row weighs the same."""
    kept = [i for i, row in enumerate(rows) if row.label != "refused"]
    target = np.array([float(rows[i].label == "neither") for i in kept])
    solution = logistic(features_NF[kept], target, np.ones(len(kept)), PENALTY)
    return Head(solution[:-1], solution[-1:], np.array([THRESHOLD], dtype=np.float32))


def without(sample: str) -> Head:
    """A head that saw no label of `sample`; that of the weights when it was trained on none."""
    labels, (train, _) = ours(), others()
    rows = [row for row in labels if row.sample in set(SAMPLES) - {sample}] + train
    return fit(rows, embedded(rows))


def wronged(judge: EncoderJudge, rows: Sequence[Labelled]) -> dict[str, list[float]]:
    """How often a right answer is called `neither`: estimate, Wilson's interval, n."""
    out = {}
    for source in dict.fromkeys(row.source for row in rows):
        mine = judge([row.response for row in rows if row.source == source])
        one = proportion(sum(verdict.label is Label.NEITHER for verdict in mine), len(mine))
        out[source] = [round(value, 4) for value in (one.estimate, one.low, one.high)] + [len(mine)]
    return out


def main() -> None:
    """Measure out of sample, train on everything, write."""
    train, test = others()
    rows = [row for row in ours() if row.sample in SAMPLES] + train
    head = fit(rows, embedded(rows))
    head.save(SENSE_WEIGHTS)
    counts = Counter((row.source, row.label) for row in rows if row.label != "refused")
    card = {
        "judge": EncoderJudge(sense=head).name,
        "encoder": {"id": HUB_ID, "sha256": SHA256, "licence": "Apache-2.0", "tokens": MAX_TOKENS},
        "sampling_seed": SEED,
        "threshold": THRESHOLD,
        "penalty": PENALTY,
        "data": [
            {
                "source": licence,
                "neither": counts[source, "neither"],
                "fulfilled": counts[source, "fulfilled"],
            }
            for source, licence in LICENCES.items()
        ],
        "agreement": "benchmarks/judge/testbed_agreement.json, by samples left out",
        "right_answers_called_neither": wronged(EncoderJudge(sense=head), test),
        "caveats": [
            "the kind of features and the penalty were chosen with the left-out agreements in view",
            "the labelled answers are those of 4 M models; nonsense of larger models is more fluent",
            "labels of the project's own annotators, assistant models that read blind",
        ],
        "rows": marks(row.response.text for row in rows if row.label != "refused"),
    }
    SENSE_WEIGHTS.with_suffix(".json").write_text(
        json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    )
    print(
        json.dumps(card["right_answers_called_neither"]),
        card["judge"],
        f"{SENSE_WEIGHTS.stat().st_size:,} bytes",
    )


if __name__ == "__main__":
    main()
