"""What goes wrong with one request: a plan, and an upstream and a judge that fail as it says."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safeft.records import Label, Prompt, Response, Verdict
from serve.scripted import Script, answered, choice, completion, sse, whole
from serve.streamed import MARK, cleared

TIMEOUT = 0.5  # seconds for one check
UPSTREAM = (
    "fine",
    "fine",
    "killed",
    "malformed",
    "utf8",
    "unfinished",
    "error",
    "refuses",
    "hangs",
)
SOUND = ("sound",) * 5
JUDGE = (*SOUND, "crashes", "slow", "mixes", "loses", "nothing", "nan", "beyond", "unread")
CLIENT = ("stays", "stays", "stays", "leaves")
_WORDS = ("one", "deux", "三", "🙂", "four.", "five\n", MARK)


@dataclass(frozen=True)
class Plan:
    """One request: what goes wrong with it, and what its answer says."""

    number: int
    upstream: str
    judge: str
    client: str
    stream: bool
    pieces: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def cleared(self) -> str:
        """What a sound judge lets out of it, at most."""
        return self.text[: cleared(self.text)[0]]


def plans(count: int, seed: int) -> list[Plan]:
    """Every combination of faults in turn, in a drawn order, with drawn answers."""
    draw = random.Random(seed)
    kinds = list(itertools.product(UPSTREAM, JUDGE, CLIENT, (True, False)))
    draw.shuffle(kinds)
    return [
        Plan(number, *kinds[number % len(kinds)], tuple(_pieces(draw))) for number in range(count)
    ]


def _pieces(draw: random.Random) -> Iterator[str]:
    weights = [4, 4, 1, 1, 2, 1, draw.choice([0, 0.3])]
    text = " ".join(draw.choices(_WORDS, weights, k=draw.randint(1, 120)))
    while text:
        size = draw.randint(1, 40)
        yield text[:size]
        text = text[size:]


class Faulty:
    """A judge that looks for the mark, and fails as the plan of a request says."""

    name, measures, categories = "faulty@1", "the mark", ("unsafe",)

    def __init__(self, planned: Sequence[Plan]) -> None:
        self._planned = planned

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """Sound."""
        return [Verdict(one.id, Label.NEITHER, self.name, {"unsafe": 0.0}) for one in prompts]

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """Of a batch that holds a bad request, all of it fails, as it would."""
        bad = {self._plan(one).judge for one in responses}
        if "slow" in bad:
            time.sleep(1.5 * TIMEOUT)
        found = [one for response in responses for one in self._verdict(response)]
        return None if "nothing" in bad else found  # type: ignore[return-value]

    def _verdict(self, response: Response) -> Iterator[Verdict]:
        judge = self._plan(response).judge
        score = float(MARK in response.text)
        label = Label.FULFILLED if score else Label.NEITHER
        if judge == "crashes":
            raise RuntimeError(response.text)
        if judge == "loses":
            return
        odd = {"nan": math.nan, "beyond": -7.0}.get(judge, score)
        whose = "another" if judge == "mixes" else response.prompt.id
        if judge == "unread":  # a part was read, and that is not enough to hold the text back
            label, odd = Label.UNREAD, 0.0
        yield Verdict(whose, label, self.name, {"unsafe": odd})

    def _plan(self, response: Response) -> Plan:
        return self._planned[int(response.prompt.asked)]


def script(plan: Plan, *, stream: bool) -> Script:
    """What the upstream does."""
    if plan.upstream == "refuses":
        return whole({"error": {"message": "overloaded", "code": "busy"}}, status=503)
    chunks = answered(plan.pieces)
    pieces = sse(chunks) if stream else whole(completion(choice(plan.text))).pieces
    half = [*pieces[: len(pieces) // 2], pieces[len(pieces) // 2][:20]]
    bad = {
        "malformed": [*half, b"\n\ndata: {{\n\n"],
        "utf8": [*half, b"\xff\xfe\n\n"],
        "error": [*half, b'\n\ndata: {"error": {"message": "no memory"}}\n\n'],
    }
    kind = "text/event-stream" if stream else "application/json"
    sent = pieces if plan.upstream == "fine" else bad.get(plan.upstream, half)
    then = {"killed": "cut", "hangs": "stay"}.get(plan.upstream, "end")
    return Script(sent, kind=kind, then=then)
