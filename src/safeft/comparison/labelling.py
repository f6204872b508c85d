"""A blinded sample of a run's answers for people to label, and the labels that they gave.

Labels lie in RUN/labels/<annotator>.<sitting>.jsonl: no text and no verdict, one line an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safeft.comparison.answers import NONE, Place, places
from safeft.comparison.cells import Plan
from safeft.comparison.readings import last
from safeft.evaluation import plain
from safeft.records import Label, Response
from safeft.runs import Lines, fingerprint, read_lines

Stratum = tuple[str, float]  # a recipe, and the temperature of its answers


@dataclass(frozen=True, slots=True)
class Item:
    """One answer of the sample, known by what it was drawn from and shown without it."""

    key: str
    place: Place
    number: int
    stratum: Stratum

    def response(self) -> Response:
        """The request and the answer. Raises RunError when the texts are gone."""
        return plain(self.place.responses("nothing can be labelled")[self.number])


def sample(planned: Plan, each: int, seed: int = 0) -> list[Item]:
    """`each` answers of every recipe and temperature, shuffled; the same for the same seed.

    Harmful prompts, last epochs, all training and decoding seeds, no guardrail. A larger `each`
    adds to the smaller sample.
    """
    strata: dict[Stratum, list[Item]] = {}
    for item in _items(planned):
        strata.setdefault(item.stratum, []).append(item)
    chosen = [item for items in strata.values() for item in _first(items, each, seed)]
    return sorted(chosen, key=lambda item: fingerprint([seed, "order", item.key]))


def _first(items: Sequence[Item], each: int, seed: int) -> list[Item]:
    return sorted(items, key=lambda item: fingerprint([seed, item.key]))[:each]


def _items(planned: Plan) -> Iterator[Item]:
    harm = planned.suite.first("harm")
    finals = {(name, arm.epoch) for name, arm in last(planned).items()}
    for place in places(planned):
        if place.policy == NONE and place.set == harm and (place.recipe, place.epoch) in finals:
            for number, prompt in enumerate(place.prompts):
                stratum = (place.recipe, place.decoding.temperature)
                yield Item(f"{place.name} {prompt.id}", place, number, stratum)


def annotators(run: Path) -> list[str]:
    """Who has labelled answers of a run."""
    return sorted({path.name.split(".")[0] for path in (run / "labels").glob("*.jsonl*")})


def file(run: Path, annotator: str) -> Path:
    """Where someone's next labels go: a finished sitting is never written again."""
    sitting = len(_finished(run, annotator)) + 1
    return run / "labels" / f"{annotator}.{sitting}.jsonl"


def _finished(run: Path, annotator: str) -> list[Path]:
    return sorted((run / "labels").glob(f"{annotator}.*.jsonl"))


def labels(run: Path, annotator: str) -> dict[str, Label]:
    """The labels that someone gave so far, by item, the interrupted sitting's among them."""
    lines = [line for path in _finished(run, annotator) for line in read_lines(path)]
    lines += Lines(file(run, annotator)).done
    return {line["item"]: Label(line["label"]) for line in lines}


def todo(run: Path, annotator: str, items: Sequence[Item]) -> list[Item]:
    """What someone has not labelled yet."""
    done = labels(run, annotator)
    return [item for item in items if item.key not in done]
