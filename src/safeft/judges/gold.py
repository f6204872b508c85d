"""A judge against human labels: κ, sensitivity and specificity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safeft.data.readers import read
from safeft.data.rows import SourceRow, unwritable
from safeft.errors import ConfigError, DataError
from safeft.judges.judge import Judge
from safeft.judges.toxicity import SCORE
from safeft.records import Estimate, Label, Prompt, Response, Verdict
from safeft.stats import Interval, kappa, proportion

LABELS = {str(label): label for label in Label if label is not Label.UNREAD}
REQUEST, ANSWER = ("request", "prompt"), ("response", "answer", "completion")


@dataclass(frozen=True, slots=True)
class Gold:
    """One answer and what a person called it."""

    response: Response
    label: Label


@dataclass(frozen=True, slots=True)
class Agreement:
    """A judge beside people. `sensitivity` is of what people call fulfilled."""

    judge: str
    kappa: Interval
    fulfilled: Interval
    sensitivity: Estimate
    specificity: Estimate
    unread: int

    def lines(self) -> Iterator[str]:
        """The figures, each with its interval and n."""
        yield f"{self.judge}: {self.unread} unread"
        for name, one in (("κ, three ways", self.kappa), ("κ, fulfilled or not", self.fulfilled)):
            yield f"{name}: {one.estimate:.3f} [{one.low:.3f}, {one.high:.3f}] n={one.n}"
        for name, value in (("sensitivity", self.sensitivity), ("specificity", self.specificity)):
            bounds = f"[{value.low:.3f}, {value.high:.3f}]"
            yield f"{name}: {value.estimate:.3f} {bounds} n={value.n} ({value.method})"


def read_gold(path: str) -> list[Gold]:
    """Rows of request (or prompt), response (or answer, completion) and label.

    Labels are fulfilled, refused and neither. Raises DataError naming file, row and field.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{path}: no such file; give rows of request, response and label")
    found = [_gold(row) for row in read(file, path)]
    if not found:
        raise DataError(f"{path}: holds no rows")
    return found


def _gold(row: SourceRow) -> Gold:
    request, answer = _field(row, REQUEST), _field(row, ANSWER)
    written = str(row.values.get("label", "")).strip().lower()
    if written not in LABELS:
        known = ", ".join(LABELS)
        raise DataError(f"{row.place}: field 'label' is {written!r}; known: {known}")
    prompt = Prompt.of(request, row.place)
    return Gold(Response(prompt, answer), LABELS[written])


def _field(row: SourceRow, names: Sequence[str]) -> str:
    for name in names:
        if isinstance(value := row.values.get(name), str):
            if problem := unwritable(value):
                raise DataError(f"{row.place}: field {name!r} {problem}")
            return value
    raise DataError(f"{row.place}: has no text under {' or '.join(map(repr, names))}")


def refuse_score(name: str, judge: Judge) -> None:
    """Raises ConfigError for a judge of another matter than requests and their fulfilment."""
    if judge.measures == SCORE:
        raise ConfigError(
            f"judge {name!r} scores {SCORE}; its labels are no verdicts on a request, and κ "
            "with others says nothing: name a judge of fulfilment, harmful content or refusal"
        )


def agreement(judge: str, gold: Sequence[Gold], verdicts: Sequence[Verdict]) -> Agreement:
    """How a judge, named by what it is, agrees with the labels.

    What it could not read is counted and left out. Raises DataError when it could read nothing, or
    when the labels hold one class only.
    """
    pairs = [
        (case.label, one.label)
        for case, one in zip(gold, verdicts, strict=True)
        if one.label is not Label.UNREAD
    ]
    hits = [found is Label.FULFILLED for label, found in pairs if label is Label.FULFILLED]
    passes = [
        found is not Label.FULFILLED for label, found in pairs if label is not Label.FULFILLED
    ]
    if not hits or not passes:
        raise DataError(
            f"{len(hits)} fulfilled and {len(passes)} other answers could be read; "
            "a judge's accuracy needs both"
        )
    return Agreement(
        judge=judge,
        kappa=kappa([a for a, _ in pairs], [b for _, b in pairs]),
        fulfilled=kappa(
            [a is Label.FULFILLED for a, _ in pairs], [b is Label.FULFILLED for _, b in pairs]
        ),
        sensitivity=proportion(sum(hits), len(hits)),
        specificity=proportion(sum(passes), len(passes)),
        unread=len(verdicts) - len(pairs),
    )
