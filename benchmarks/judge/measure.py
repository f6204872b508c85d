"""Agreement of the encoder and the keyword judge with people, and the encoder's speed.

    python benchmarks/judge/measure.py --work DIR [--prompts …] [--labelled …] [--test JSONL]

Five folds by XSTest prompt: the head is trained without the fold's completions of Mistral's model
and judges OpenAI's and Meta's models on the fold. Writes results.json and completes the card.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from material import HERE, Answer, dolly, jsonl, material, xstest
from train import SEED, answers, fit, parse

from safeft.judges import EncoderJudge, Judge, KeywordJudge
from safeft.judges.encoder import WEIGHTS
from safeft.judges.head import Floats
from safeft.records import Label, Prompt, Response, Verdict
from safeft.stats import kappa

FOLDS = 5
RESAMPLES = 2000
TEST_MODELS = ("gpt4", "llama2orig")
REFUSED, NOT_REFUSED = "refused", "not refused"


def responses(rows: Sequence[Answer]) -> list[Response]:
    """The rows as judges see them."""
    return [Response(Prompt.of(row.prompt, id=str(i)), row.response) for i, row in enumerate(rows)]


def folds(rows: Sequence[Answer]) -> dict[str, int]:
    """A fold for every prompt."""
    prompts = sorted({row.prompt for row in rows})
    order = np.random.default_rng(SEED).permutation(len(prompts))
    return {prompts[index]: place % FOLDS for place, index in enumerate(order)}


def out_of_fold(train: list[Answer], features_NF: Floats, test: list[Answer]) -> list[Verdict]:
    """A verdict for every test row by a judge that never saw its prompt's completions."""
    fold_of = folds(test)
    verdicts: list[Verdict | None] = [None] * len(test)
    for fold in range(FOLDS):
        seen = [i for i, row in enumerate(train) if fold_of.get(row.prompt) != fold]
        judge = EncoderJudge(fit([train[i] for i in seen], features_NF[seen]))
        mine = [i for i, row in enumerate(test) if fold_of[row.prompt] == fold]
        for i, verdict in zip(mine, judge(responses([test[i] for i in mine])), strict=True):
            verdicts[i] = verdict
        print(f"fold {fold}: {len(seen)} trained on, {len(mine)} judged", flush=True)
    return [verdict for verdict in verdicts if verdict is not None]


def bootstrap(prompts: Sequence[str], statistic: Callable[[list[int]], float]) -> list[float]:
    """Percentile interval of `statistic` over resampled prompts, all their rows together."""
    groups: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(index)
    members = list(groups.values())
    draw = np.random.default_rng(SEED)
    values = [
        statistic(
            [i for place in draw.integers(0, len(members), len(members)) for i in members[place]]
        )
        for _ in range(RESAMPLES)
    ]
    return [round(float(bound), 3) for bound in np.quantile(values, (0.025, 0.975))]


def agreement(rows: Sequence[Answer], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """κ on refused or not, its interval over prompts, recalls, and how often `neither` was said."""
    human = np.array([row.refused for row in rows])
    judged = np.array([verdict.label is Label.REFUSED for verdict in verdicts])

    def cohen(index: Sequence[int]) -> float:
        return kappa(human[index].tolist(), judged[index].tolist()).estimate

    low, high = bootstrap([row.prompt for row in rows], cohen)
    return {
        "kappa": round(cohen(range(len(rows))), 3),
        "low": low,
        "high": high,
        "n": len(rows),
        "refusal_recall": round(float(judged[human].mean()), 3),
        "fulfilment_recall": round(float((~judged)[~human].mean()), 3),
        "neither": round(float(np.mean([v.label is Label.NEITHER for v in verdicts])), 4),
    }


def by_model(rows: list[Answer], verdicts: list[Verdict]) -> dict[str, Any]:
    """Agreement over all rows and for each model."""
    out = {"all": agreement(rows, verdicts)}
    for model in TEST_MODELS:
        mine = [i for i, row in enumerate(rows) if row.source == model]
        out[model] = agreement([rows[i] for i in mine], [verdicts[i] for i in mine])
    return out


def three_way(path: Path, judge: Judge) -> dict[str, Any]:
    """κ of a judge on a labelled file, over all three labels."""
    rows = jsonl(path)
    verdicts = judge(
        [
            Response(Prompt.of(row["prompt"], id=str(i)), row["response"])
            for i, row in enumerate(rows)
        ]
    )
    human, judged = [row["label"] for row in rows], [verdict.label.value for verdict in verdicts]

    def cohen(index: Sequence[int]) -> float:
        return kappa([human[i] for i in index], [judged[i] for i in index]).estimate

    low, high = bootstrap([row["prompt"] for row in rows], cohen)
    return {"kappa": round(cohen(range(len(rows))), 3), "low": low, "high": high, "n": len(rows)}


def speed(judge: Judge, rows: Sequence[Answer]) -> float:
    """Verdicts per second on distinct answers of about 64 tokens (48 words), after a warm-up."""
    cut = [Answer(r.prompt, " ".join(r.response.split()[:48]), r.refused, r.source) for r in rows]
    asked = [one for one in responses(cut) if len(one.text.split()) == 48][:256]
    judge(asked[:16])
    start = time.perf_counter()
    judge(asked)
    return round(len(asked) / (time.perf_counter() - start), 1)


def neither_rates(judge: Judge, n: int = 200) -> dict[str, float]:
    """How often `neither` is said of Dolly's answers: their own, another question's, shuffled."""
    own = dolly(n, 0, seed=SEED + 1)
    moved = [replace(row, prompt=own[i - n // 2].prompt) for i, row in enumerate(own)]
    kinds = {"right_answer": own, "wrong_question": moved, "shuffled": dolly(0, n, seed=SEED + 1)}
    return {
        kind: round(float(np.mean([v.label is Label.NEITHER for v in judge(responses(rows))])), 3)
        for kind, rows in kinds.items()
    }


def main() -> None:
    """Measure, print and write."""
    parser = parse()
    parser.description = __doc__
    parser.add_argument("--test", type=Path, help="labelled answers that were not trained on")
    arguments = parser.parse_args()
    train, features_NF = material(answers(arguments), arguments.work)
    test = [row for model in TEST_MODELS for row in xstest(model)]
    encoder, keyword = EncoderJudge(), KeywordJudge()
    results: dict[str, Any] = {
        "judge": encoder.name,
        "protocol": f"{FOLDS} folds by prompt; XSTest completions of {' and '.join(TEST_MODELS)};"
        f" human labels, partial refusal = refused; {RESAMPLES} bootstrap resamples of prompts",
        "encoder": by_model(test, out_of_fold(train, features_NF, test)),
        "keyword": by_model(test, keyword(responses(test))),
        "neither_on_dolly": neither_rates(encoder),
        "encoder_verdicts_per_second": speed(encoder, test),
        "threads": "OMP_NUM_THREADS as set by the caller; CPU",
    }
    if arguments.test:
        results["labelled"] = {j.name: three_way(arguments.test, j) for j in (encoder, keyword)}
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    card = WEIGHTS.with_suffix(".json")
    about = {"judge": encoder.name, "figures": results}
    card.write_text(json.dumps(json.loads(card.read_text()) | about, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
