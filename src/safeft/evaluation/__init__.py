"""Suites → verdicts on disk, and utility on the domain's own test rows."""

from safeft.evaluation.ask import judged, plain, read_verdicts, respond, stored
from safeft.evaluation.calibration import calibrate
from safeft.evaluation.evaluate import (
    evaluate,
    replay,
    response_file,
    short,
    verdict_file,
    where,
)
from safeft.evaluation.suites import Suite, load_suite
from safeft.evaluation.utility import held_out_loss, rouge, rouge_l

__all__ = [
    "Suite",
    "calibrate",
    "evaluate",
    "held_out_loss",
    "judged",
    "load_suite",
    "plain",
    "read_verdicts",
    "replay",
    "respond",
    "response_file",
    "rouge",
    "rouge_l",
    "short",
    "stored",
    "verdict_file",
    "where",
]
