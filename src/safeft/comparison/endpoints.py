"""What only an endpoint needs: the cost said beforehand, and whether it honours seeds."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safeft.comparison.attacking import words_of
from safeft.comparison.blocks import Attack
from safeft.comparison.cells import Ask, Plan
from safeft.comparison.rules import unfinished
from safeft.comparison.searching import game
from safeft.evaluation import response_file, stored, where
from safeft.generation import Generator
from safeft.generation.counting import estimated_tokens
from safeft.generation.schema import Endpoint
from safeft.judges import EndpointJudge, Judge, load_judge
from safeft.records import Decoding, Prompt, Response
from safeft.runs import read_json, write_json

_LOG = logging.getLogger("safeft")
SEEDS = "seeds.json"


@dataclass(frozen=True, slots=True)
class Bill:
    """What an endpoint is sent at most; a resumed run sends fewer."""

    requests: int = 0
    read: int = 0  # tokens
    written: int = 0

    def __add__(self, other: Bill) -> Bill:
        """Both."""
        written = self.written + other.written
        return Bill(self.requests + other.requests, self.read + other.read, written)


def announce(plan: Plan) -> None:
    """What goes where, how much, and what it may cost, before the first request is sent."""
    if not unfinished(plan):
        return
    matrix = plan.matrix
    if matrix.remote:
        _say(matrix.model, matrix.engine, _answering(plan) + _attacked(plan), matrix.endpoint)
    for name in matrix.judges:
        judge = load_judge(name)
        if isinstance(judge, EndpointJudge):
            bill, spec = _judging(plan, judge), judge.spec
            bill += _attacks_judged(plan, judge) if name == matrix.attack_judge else Bill()
            _say(f"judge {spec.name}", spec.engine, bill, spec.endpoint, bool(spec.gold))
    if matrix.attack:
        _say_players(matrix.attack, _queries(plan))


def announce_judging(judge: Judge, answers: Iterable[Response]) -> None:
    """What a finished run's answers cost at a judge's endpoint, before the first is sent."""
    if isinstance(judge, EndpointJudge):
        spec, read = judge.spec, [_tokens(judge.asks(one)) for one in answers]
        bill = Bill(len(read), sum(read), len(read) * spec.max_new_tokens)
        _say(f"judge {spec.name}", spec.engine, bill, spec.endpoint, bool(spec.gold))


def _say(who: str, url: str, bill: Bill, endpoint: Endpoint, gold: bool = False) -> None:
    cost = endpoint.cost(bill.read, bill.written)
    _LOG.warning(
        "%s: %s requests to %s, about %s tokens read and at most %s written%s%s",
        *(who, f"{bill.requests:,}", url, f"{bill.read:,}", f"{bill.written:,}"),
        "" if math.isnan(cost) else f", about ${cost:,.2f} at most",
        "; besides, each worker asks about the gold cases" if gold else "",
    )


def _say_players(attack: Attack, most: int) -> None:
    """Requests alone: what attackers read grows with each answer."""
    # The evaluator reads each request before it is sent, and its answer.
    evaluator = (attack.evaluator, attack.evaluator_url, 2 * most)
    for name, url, asked in ((attack.attacker, attack.attacker_url, most), evaluator):
        if url:
            _LOG.warning("attack, %s: at most %s requests to %s", name, f"{asked:,}", url)


def _answering(plan: Plan) -> Bill:
    asked = list(_asked(plan))
    read = sum(_tokens(prompt) for prompt, _ in asked)
    return Bill(len(asked), read, sum(most for _, most in asked))


def _attacked(plan: Plan) -> Bill:
    """What attackers ask of the models, each request as long as it may be."""
    if not plan.matrix.attack:
        return Bill()
    attack, asked = plan.matrix.attack, _queries(plan)
    longest = words_of(game(attack, "")).max_new_tokens
    return Bill(asked, asked * longest, asked * attack.max_new_tokens)


def _judging(plan: Plan, judge: EndpointJudge) -> Bill:
    """Every answer, behind no guard and behind each."""
    prompts, found = plan.suite.all_prompts(), Bill()
    bare = _bare(judge, prompts)
    for cell in unfinished(plan):
        for ask in plan.asks(cell):
            for decoding in ask.decodings:
                times = 1 + len(ask.policies)
                asked = times * len(prompts)
                read = times * bare + asked * decoding.max_new_tokens
                found += Bill(asked, read, asked * judge.spec.max_new_tokens)
    return found


def _attacks_judged(plan: Plan, judge: EndpointJudge) -> Bill:
    """What the models answer to attackers."""
    if not plan.matrix.attack:
        return Bill()
    asked = _queries(plan)
    read = asked // max(1, len(plan.goals)) * _bare(judge, plan.goals)
    read += asked * plan.matrix.attack.max_new_tokens
    return Bill(asked, read, asked * judge.spec.max_new_tokens)


def _bare(judge: EndpointJudge, prompts: Sequence[Prompt]) -> int:
    """The tokens of what a judge reads about each prompt, but for the answer."""
    return sum(_tokens(judge.asks(Response(one, ""))) for one in prompts)


def _queries(plan: Plan) -> int:
    """The most requests of attackers to all models."""
    searched = [cell for cell in unfinished(plan) if not cell.answers]
    each = _tree(plan.matrix.attack) if plan.matrix.attack else 0
    return len(searched) * len(plan.goals) * each


def _tree(attack: Attack) -> int:
    """The most requests for one goal: the tree branches until it is as wide as it may be."""
    leaves, found = 1, 0
    for _ in range(attack.depth):
        found += leaves * attack.branching
        leaves = min(attack.width, leaves * attack.branching)
    return found


def _asked(plan: Plan) -> Iterator[tuple[Prompt, int]]:
    """Every request, with the most tokens that its answer may have; a resumed run sends fewer."""
    for cell in unfinished(plan):
        for ask in plan.asks(cell) if not cell.answers else ():
            for decoding in ask.decodings:
                first = next(iter(plan.suite.prompts.values()))[0]
                yield first, decoding.max_new_tokens  # asked again, for its seed
                for prompts in plan.suite.prompts.values():
                    yield from ((one, decoding.max_new_tokens) for one in prompts)
    longest = 2 * plan.suite.max_new_tokens
    yield from ((Prompt(one.place, one.messages[:-1]), longest) for one in plan.test)


def _tokens(prompt: Prompt) -> int:
    return estimated_tokens(prompt.messages)


def ask_again(plan: Plan, generator: Callable[[], Generator], ask: Ask, place: Path) -> None:
    """Ask the first prompt of each decoding once more: does the same seed give the same answer?

    An API may take a seed and answer as it likes. What came is kept without text, with the
    fingerprints that the endpoint gave of the system that answered.
    """
    path = place / SEEDS
    if not path.is_file():
        write_json(path, [_again(plan, generator(), one, place) for one in ask.decodings])


def _again(plan: Plan, generator: Generator, decoding: Decoding, place: Path) -> dict[str, Any]:
    key, prompts = next(iter(plan.suite.prompts.items()))
    before = stored(where(place, plan.suite, key, decoding) / response_file("none"), prompts)
    (again,) = generator([prompts[0]], decoding)
    return {
        "temperature": decoding.temperature,
        "seed": decoding.seed,
        "repeated": again.text == before[0].text,
        "served": sorted({one.served for one in (*before, again) if one.served}),
    }


def honoured(plan: Plan) -> Iterator[str]:
    """What the report says of the endpoint's seeds."""
    found = [one for cell in plan.cells for one in _noted(sorted(cell.folder.glob(f"*/{SEEDS}")))]
    if found:
        same = sum(one["repeated"] for one in found)
        systems = sorted({name for one in found for name in one["served"]})
        named = f" Systems that answered: {', '.join(systems)}." if systems else ""
        yield (
            f"Asked once more with the same seed, the endpoint gave the same answer in {same} of "
            f"{len(found)} decodings (one prompt each).{named}"
        )


def _noted(paths: Sequence[Path]) -> list[dict[str, Any]]:
    return [one for path in paths for one in read_json(path)]
