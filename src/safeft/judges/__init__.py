"""Responses to verdicts: judges by name, the refusal phrases and the coherence rule."""

from safeft.judges.catalogue import judge_names, load_judge, tell
from safeft.judges.coherence import Incoherence, incoherence
from safeft.judges.encoder import EncoderJudge
from safeft.judges.endpoint import EndpointJudge
from safeft.judges.judge import Judge
from safeft.judges.keyword import KeywordJudge
from safeft.judges.published import worth

__all__ = [
    "EncoderJudge",
    "EndpointJudge",
    "Incoherence",
    "Judge",
    "KeywordJudge",
    "incoherence",
    "judge_names",
    "load_judge",
    "tell",
    "worth",
]
