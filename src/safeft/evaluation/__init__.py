"""Suites → verdicts on disk, and utility on the domain's own test rows."""

from safeft.evaluation.ask import judged, read_verdicts, respond, stored
from safeft.evaluation.evaluate import evaluate, replay, verdict_file, where
from safeft.evaluation.suites import Suite, load_suite
from safeft.evaluation.utility import held_out_loss, rouge, rouge_l

__all__ = [
    "Suite",
    "evaluate",
    "held_out_loss",
    "judged",
    "load_suite",
    "read_verdicts",
    "replay",
    "respond",
    "rouge",
    "rouge_l",
    "stored",
    "verdict_file",
    "where",
]
