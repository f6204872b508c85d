"""A judge measured on a user's labelled answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from safeft.evaluation.ask import judged
from safeft.judges import load_judge, tell
from safeft.judges.gold import Agreement, agreement, read_gold, refuse_score
from safeft.runs import fingerprint, locked, open_run, write_json


def calibrate(name: str, gold: str, output: Path | None = None) -> Agreement:
    """How a judge agrees with the labels of a file, each answer judged once.

    With `output` every verdict is kept as it comes, without text: a killed call goes on there, and
    `agreement.json` holds the figures. Raises ConfigError for a judge that reads no fulfilment,
    DataError for labels that measure nothing, RunError when `output` holds something else.
    """
    judge = load_judge(name)
    refuse_score(name, judge)
    tell([judge])
    cases = read_gold(gold)
    answers = [case.response for case in cases]
    if output is None:
        return agreement(judge.name, cases, judge(answers))
    labelled = [[one.prompt.id, one.prompt.text, one.text] for one in answers]
    with locked(output):
        open_run(output, {"calibration": {"judge": judge.name, "answers": fingerprint(labelled)}})
        verdicts = judged(lambda: judge, answers, output / "verdicts.jsonl")
        found = agreement(judge.name, cases, verdicts)
        write_json(output / "agreement.json", asdict(found))
        return found
