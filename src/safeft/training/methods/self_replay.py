"""Self-replay: the model writes its own safety rows, and a guard keeps those that it clears.

After GR-SAP (arXiv 2603.10243). For each harm category the aligned model is asked for a request
that it would refuse, with its answer begun for it, and answers what it wrote; a guard reads every
answer. What it does not clear is revised by the model and read again (`hard` rows) or dropped. Hard
rows make up half of what is replayed, where there are enough. From a digest of the paper: wordings
and numbers are our own; near copies go by words and not by embeddings, and what is broken by the
rules of `judges.coherence`, which a babbling model may pass, and not by perplexity.

Nobody knows beforehand what the model will ask: these rows cannot be compared with an evaluation's
prompts before they are written, as a pool's are.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeft.data import Example
from safeft.errors import DataError, PromptError
from safeft.judges import Judge
from safeft.judges.phrases import refuses
from safeft.records import Decoding, Message, Prompt, Response
from safeft.runs import fingerprint
from safeft.training.methods.context import Applied, Context
from safeft.training.methods.eliciting import asking, distinct, requests, revising, sensible
from safeft.training.methods.guard import rated
from safeft.training.methods.method import DataMethod
from safeft.training.methods.safety_rows import Row, balanced

logger = logging.getLogger("safeft")


class SelfReplay(DataMethod):
    """A share of safety rows that the model wrote itself and a guard has cleared."""

    cost: ClassVar[str] = "three generation passes, a guard's pass over them"
    source: ClassVar[str] = "2603.10243"
    evidence: ClassVar[str] = (
        "for: less harm than with other people's safety data (2603.10243, from a digest); against: "
        "a small model has little to tell, and what the guard misses is trained"
    )

    name: Literal["self_replay"]
    ratio: float = Field(0.1, gt=0, lt=1, description="replayed rows / all rows after mixing")
    per_category: int = Field(8, gt=0, description="requests asked for in each of 44 categories")
    begin: str = Field(
        "The request was: How can I",
        description="how its request is begun for it, from behind the colon; endpoints begin it",
    )
    guard: str = Field(
        "encoder-guard", min_length=1, description="who reads: a guard's judge, as policies name it"
    )
    threshold: float = Field(
        0.5, gt=0, le=1, allow_inf_nan=False, description="cleared below this P(unsafe)"
    )
    unsafe: Literal["revise", "drop"] = Field(
        "revise", description="what becomes of answers that the guard does not clear"
    )
    temperature: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="of the requests; the answers are greedy"
    )
    max_request_tokens: int = Field(48, gt=0)
    max_new_tokens: int = Field(96, gt=0, description="room for one answer")
    seed: int = Field(0, description="which requests are drawn, and which rows")

    @property
    def stream(self) -> bool:
        """Its rows are safety rows."""
        return True

    @property
    def asks_guard(self) -> str:
        """The one that reads the answers."""
        return self.guard

    def apply(self, examples: Sequence[Example], context: Context) -> Applied:
        """Add the replayed rows and shuffle everything with the recipe's seed.

        Where fewer rows were cleared than `ratio` asks for, all of them are added. Raises DataError
        when none was, ConfigError when there is no such guard.
        """
        asked = asking(self.per_category, self.begin)
        drawn = Decoding(self.temperature, self.seed, self.max_request_tokens)
        written = requests(asked, _written(context, asked, drawn))
        found = distinct(written)
        easy, hard = self._cleared(found, context, context.guard(self.guard))
        counts = {"asked": len(asked), "requests": len(written)}
        counts |= {"distinct": len(found), "easy": len(easy), "hard": len(hard)}
        if not easy and not hard:
            raise DataError(_none(self, counts))
        wanted = max(1, round(len(examples) * self.ratio / (1 - self.ratio)))
        rows = self._chosen(easy, hard, wanted)
        if len(rows) < wanted:
            logger.warning(
                "self_replay: %d rows are wanted and %d were cleared; raise per_category",
                wanted,
                len(rows),
            )
        mixed = [*examples, *map(_example, rows)]
        random.Random(self.seed).shuffle(mixed)
        return Applied(tuple(mixed), counts | _rates(counts, rows, wanted, len(mixed)))

    def _cleared(
        self, found: Sequence[Prompt], context: Context, guard: Judge
    ) -> tuple[list[Response], list[Response]]:
        """The answers that the guard clears at once, and those that it clears once revised."""
        told = Decoding(0.0, 0, self.max_new_tokens)
        said = _written(context, found, told)
        answers = [Response(one, said[one.id]) for one in found]
        easy = self._kept(answers, context, guard)
        if self.unsafe == "drop":
            return easy, []
        done = {one.prompt.id for one in easy}
        left = [one for one in answers if one.prompt.id not in done and one.text.strip()]
        again = _written(context, [revising(one) for one in left], told)
        revised = [Response(one.prompt, again[one.prompt.id]) for one in left]
        return easy, self._kept(revised, context, guard)

    def _kept(self, answers: Sequence[Response], context: Context, guard: Judge) -> list[Response]:
        """The answers that make sense and that the guard clears."""
        read = [one for one in answers if sensible(one)]
        key = fingerprint([guard.name, [[one.prompt.text, one.text] for one in read]])[:16]
        path = context.store / f"guarded-{key}.jsonl"
        safe = rated(path, guard, read, lambda one: one)
        # At the threshold a guard acts, and so it does on what it could not read (P(safe) is 0).
        return [one for one, p in zip(read, safe, strict=True) if p > 1 - self.threshold]

    def _chosen(
        self, easy: Sequence[Response], hard: Sequence[Response], wanted: int
    ) -> list[Response]:
        """Half of each kind where there is enough, as many categories as there are."""
        few = min(len(easy), max(wanted - wanted // 2, wanted - len(hard)))
        return [*_drawn(easy, few, self.seed), *_drawn(hard, wanted - few, self.seed)]


def _written(context: Context, asked: Sequence[Prompt], decoding: Decoding) -> dict[str, str]:
    try:
        return context.write(asked, decoding)
    except PromptError as error:
        raise DataError(
            f"self_replay: what the model wrote {error.problem}; lower max_request_tokens or "
            "max_new_tokens"
        ) from error


def _drawn(answers: Sequence[Response], count: int, seed: int) -> list[Response]:
    rows = [Row(one.prompt, one.text, number) for number, one in enumerate(answers)]
    return [answers[row.number] for row in balanced(rows, seed)[:count]]


def _example(one: Response) -> Example:
    messages = (*one.prompt.messages, Message("assistant", one.text))
    return Example(messages, int(one.prompt.id), f"self_replay#{one.prompt.category}")


def _rates(
    counts: dict[str, int], rows: Sequence[Response], wanted: int, mixed: int
) -> dict[str, Any]:
    """A cleared answer need not be a refusal: the request may be harmless."""
    kept = counts["easy"] + counts["hard"]
    return {
        "keep_rate": round(kept / counts["asked"], 4),
        "wanted": wanted,
        "replayed": len(rows),
        "refusals": sum(refuses(one.text) for one in rows),
        "share": round(len(rows) / mixed, 4),
    }


def _none(method: SelfReplay, counts: dict[str, int]) -> str:
    if not counts["distinct"]:
        return (
            f"self_replay: the model wrote no usable request in {counts['asked']}; raise "
            "per_category, change `begin` or `temperature`, or use safety_mix, which has a pool"
        )
    revise = "" if method.unsafe == "revise" else ", set unsafe: revise"
    return (
        f"self_replay: guard {method.guard!r} cleared none of the answers to the "
        f"{counts['distinct']} requests that the model wrote; raise per_category{revise}, name "
        "another guard, or use safety_mix, whose harmful prompts the model must refuse"
    )
