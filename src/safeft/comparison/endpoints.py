"""What only an endpoint needs: the cost said beforehand, and whether it honours seeds."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safeft.comparison.cells import Ask, Plan
from safeft.comparison.rules import unfinished
from safeft.evaluation import response_file, stored, where
from safeft.generation import Generator
from safeft.records import Decoding, Prompt
from safeft.runs import read_json, write_json

_LOG = logging.getLogger("safeft")
SEEDS = "seeds.json"
CHARACTERS = 4  # of English text in a token, as a rule of thumb
FEW = 3  # tokens around a message


def announce(plan: Plan) -> None:
    """Where the prompts go, how many, and what they may cost, before the first is sent."""
    if not plan.matrix.remote or not unfinished(plan):
        return
    asked = list(_asked(plan))
    read = sum(_tokens(prompt) for prompt, _ in asked)
    written = sum(most for _, most in asked)
    cost = plan.matrix.endpoint.cost(read, written)
    dollars = "" if math.isnan(cost) else f", about ${cost:,.2f} at most"
    _LOG.warning(
        "%s: %d requests to %s, about %s tokens read and at most %s written%s",
        *(plan.matrix.model, len(asked), plan.matrix.engine, f"{read:,}", f"{written:,}", dollars),
    )


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
    return sum(len(one.content) // CHARACTERS + FEW for one in prompt.messages)


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
