"""Fine-tuning where the model is served: an API's files and jobs instead of weights."""

from safeft.training.hosted.provider import Provider
from safeft.training.hosted.schema import OPENAI, URLS, Job
from safeft.training.hosted.tune import Tuned, cancel, tune, tuned

__all__ = ["OPENAI", "URLS", "Job", "Provider", "Tuned", "cancel", "tune", "tuned"]
