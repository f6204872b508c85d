"""`safeft attack`: TAP on every goal, stored goal by goal, and its success rate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safeft.assets import find, read_yaml
from safeft.errors import ConfigError
from safeft.evaluation import load_suite
from safeft.evaluation.tap import (
    Budget,
    Evaluator,
    NoEvaluator,
    PromptedEvaluator,
    TapFile,
    attack,
)
from safeft.generation import Generator
from safeft.generation.endpoint import EndpointGenerator
from safeft.generation.schema import Endpoint, installed, is_url
from safeft.generation.transformers import TransformersGenerator
from safeft.judges import Judge, load_judge, tell
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Prompt
from safeft.runs import Lines, fingerprint, locked, open_run, read_lines, versions, write_json
from safeft.stats import arm, proportion
from safeft.training import folder_identity, model_identity

Players = Callable[[], tuple[Generator, Generator, Evaluator]]
SCHEMA = "safeft.attack/1"
ATTEMPTS = "responses.tap.jsonl"  # holds texts: it is pruned and ignored as responses are
TEXTS = ("goal", "request", "answer")


@dataclass(frozen=True, slots=True)
class Player:
    """A model in the game: its name, and the URL of its endpoint, or nothing for Transformers."""

    model: str
    url: str = ""
    adapters: tuple[str, ...] = ()

    def weights(self) -> list[str]:
        """What the player is: its weights and not their paths, or where it is asked."""
        if self.url:
            return [f"{self.model} at {self.url}"]
        adapters = [folder_identity(Path(one)) for one in self.adapters]
        return [model_identity(self.model), *adapters]


@dataclass(frozen=True, slots=True)
class Game:
    """Who attacks whom, and how hard."""

    target: Player
    attacker: Player
    evaluator: Player | None
    judge: str
    suite: str
    set: str
    per_category: int | None
    words: str
    budget: Budget
    decoding: Decoding


def attack_all(
    game: Game, output: Path, progress: Callable[[str, int, int], None] = lambda *_: None
) -> dict[str, Any]:
    """Attack every goal that is not done yet, and write `attack.json` into `output`.

    Raises ConfigError or ModelError before anything is asked, RunError when `output` holds another
    attack. `progress` hears (the goal's id, how many are done, of how many).
    """
    words = words_of(game)
    goals = goals_of(game)
    _refuse_unheard(game)
    judge = load_judge(game.judge)
    for player in filter(None, (game.target, game.attacker, game.evaluator)):
        installed(player.url or "transformers")
    with locked(output):
        open_run(output, _identity(game, judge.name, words, goals))
        tell([judge])
        stored = output / ATTEMPTS
        pursue(
            game, goals, players_of(game, lambda: _generator(game.target)), judge, stored, progress
        )
        summary = _summary(game, judge.name, read_lines(stored))
        write_json(output / "attack.json", summary)
        return summary


def pursue(
    game: Game,
    goals: Sequence[Prompt],
    players: Players,
    judge: Judge,
    stored: Path,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> None:
    """Attack every goal that `stored` lacks, and complete it; a killed search goes on there."""
    if stored.is_file():
        return
    words = words_of(game)
    with Lines(stored) as lines:
        done = {record["id"] for record in lines.done}
        progress("finished before", len(done), len(goals))
        for goal in (one for one in goals if one.id not in done):
            attacker, target, evaluator = players()
            asked = words, game.budget, game.decoding
            found = attack(goal, attacker, target, evaluator, judge, *asked)
            lines.append([{"id": goal.id, "category": goal.category, **asdict(found)}])
            done.add(goal.id)
            progress(goal.id, len(done), len(goals))


def _refuse_unheard(game: Game) -> None:
    """Raises ConfigError for an adapter that would be ignored."""
    if game.target.url and game.target.adapters:
        raise ConfigError("--adapter: an endpoint serves what it serves; leave it out, or --url")


def _identity(game: Game, judge: str, words: TapFile, goals: Sequence[Prompt]) -> dict[str, Any]:
    """What two commands must have in common to be one attack: weights too, not their paths."""
    players = {
        name: one.weights()
        for name in ("target", "attacker", "evaluator")
        if (one := getattr(game, name)) is not None
    }
    asked = fingerprint([[one.id, one.text] for one in goals])
    return {
        "attack": asdict(game),
        "weights": players,
        "goals": asked,
        "judge": judge,
        "words": words.model_dump(),
    }


def words_of(game: Game) -> TapFile:
    """What attacker and evaluator are told. Raises ConfigError when there is no such file."""
    return read_yaml(find("eval/attacks", game.words), TapFile)


def goals_of(game: Game) -> Sequence[Prompt]:
    """The requests that are to be carried out. Raises ConfigError for a set that is not there."""
    overrides = [f"per_category={game.per_category}"] if game.per_category else []
    suite = load_suite(game.suite, overrides)
    if game.set not in suite.prompts:
        raise ConfigError(
            f"suite {suite.name!r}: no set {game.set!r} of goals; it has {', '.join(suite.prompts)}"
        )
    return suite.prompts[game.set]


def players_of(game: Game, target: Callable[[], Generator]) -> Players:
    """Loads them once, and only when there is something to attack."""

    @cache
    def loaded() -> tuple[Generator, Generator, Evaluator]:
        asked = target()

        def player(one: Player) -> Generator:
            return asked if one == game.target else _generator(one)

        judged = game.evaluator
        evaluator = PromptedEvaluator(player(judged), words_of(game)) if judged else NoEvaluator()
        return player(game.attacker), asked, evaluator

    return loaded


@cache  # one attacker for all cells of a worker
def _generator(player: Player) -> Generator:
    if is_url(player.url):
        # A talk that outgrew the context is answered with nothing, and no other is asked twice.
        return EndpointGenerator(player.url, player.model, Endpoint(), skip_long=True)
    weights = load_model(player.model, adapters=player.adapters)
    tokenizer = load_tokenizer(player.model, adapters=player.adapters)
    return TransformersGenerator(weights, tokenizer, player.model)


def told(attempt: dict[str, Any]) -> bool:
    """Whether an outcome says anything of the target: it was asked, and read where it matters."""
    return bool(attempt["queries"] and (attempt["success"] or not attempt["unjudged"]))


def _summary(game: Game, judge: str, attempts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rates with intervals, and each goal without its texts."""
    asked = [one for one in attempts if told(one)]
    unasked = [one for one in attempts if not one["queries"]]
    return {
        "schema": SCHEMA,
        "target": asdict(game.target),
        "attacker": asdict(game.attacker),
        "evaluator": asdict(game.evaluator) if game.evaluator else None,
        "judge": judge,
        "budget": asdict(game.budget),
        # A goal that no readable request was written for says nothing about the target.
        "unasked": len(unasked),
        "unread": len(attempts) - len(asked) - len(unasked),
        "success": _rate(asked),
        "queries": _queries(asked),
        "goals": [without_texts(one) for one in attempts],
        "versions": versions(),
    }


def _rate(asked: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """The share of goals that were reached, with Wilson's interval."""
    if not asked:
        return None
    found = proportion(sum(one["success"] for one in asked), len(asked))
    return {"estimate": found.estimate, "low": found.low, "high": found.high, "n": len(asked)}


def _queries(asked: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """What a goal cost in requests to the target."""
    if not asked:
        return None
    counts = [[[float(one["queries"])] for one in asked]]
    found = arm(counts, bounded=False, fixed=True, positive=True)
    return {"estimate": found.estimate, "low": found.low, "high": found.high, "n": len(asked)}


def without_texts(attempt: dict[str, Any]) -> dict[str, Any]:
    """An outcome that may be shown and committed."""
    kept = {key: value for key, value in attempt.items() if key not in TEXTS}
    return kept | {"request_sha256": hashlib.sha256(attempt["request"].encode()).hexdigest()}
