"""What a guard says of training answers, one verdict a row, kept as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safeft.comparison.scored import Progress
from safeft.data import Example
from safeft.errors import ConfigError
from safeft.guarding.checker import seen
from safeft.guarding.decision import decide
from safeft.guarding.judge import GuardJudge
from safeft.guarding.loading import checker
from safeft.guarding.policy import Policy, Stage, StageName
from safeft.guarding.states import state_judges
from safeft.records import Message, Prompt, Response
from safeft.runs import Lines, read_lines

AT_ONCE = 64  # rows between two writes
OUTPUT: StageName = "output"


@dataclass(frozen=True)
class Screen:
    """A policy's judge of answers, read without the haste of a server: no timeout."""

    policy: Policy
    judge: GuardJudge
    stage: Stage

    @classmethod
    def of(cls, policy: str) -> Screen:
        """Raises ConfigError for a policy that reads no answers, or a model's own states."""
        made = checker(policy)
        made.close()
        stage = made.policy.stages.get(OUTPUT)
        if stage is None:
            raise ConfigError(f"--policy: {policy!r} reads no answers; give one with `output`")
        if state_judges(made):
            raise ConfigError(
                f"--policy: {policy!r} reads a served model's states, which stored rows have not; "
                "give one whose judge reads text"
            )
        return cls(made.policy, made.judges[OUTPUT], stage)

    def read(self, rows: Sequence[Example], path: Path, progress: Progress) -> list[dict[str, Any]]:
        """One record a row, stored at `path`: `category` ('' when cleared), `score`, `unread`."""
        if not path.is_file():
            with Lines(path) as lines:
                lines.fill(
                    rows, AT_ONCE, self._records, lambda done: progress("guard", done, len(rows))
                )
        return read_lines(path)

    def _records(self, rows: Sequence[Example]) -> Iterator[dict[str, Any]]:
        verdicts = self.judge([_response(row, self.policy.turns) for row in rows])
        for row, verdict in zip(rows, verdicts, strict=True):
            found = decide(OUTPUT, self.stage, verdict)
            yield {
                "source": row.source,
                "row": row.row,
                "category": found.category if found.unsafe else "",
                "score": round(found.score, 4) if found.score == found.score else None,
                "unread": found.unsafe is None,
            }


def _response(row: Example, turns: int) -> Response:
    """The last answer, as a guard would see it leave; a document answers nothing."""
    asked = row.messages[:-1] or (Message("user", ""),)
    prompt = seen(Prompt(row.place, asked), turns)
    return Response(prompt, row.messages[-1].content if row.messages else row.text)
