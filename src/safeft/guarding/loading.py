"""A policy becomes a checker: its judges are loaded, and what cannot work is refused at once."""

from __future__ import annotations

from pathlib import Path

from safeft.assets import find
from safeft.errors import ConfigError
from safeft.guarding.catalogue import load_guard_judges
from safeft.guarding.checker import Checker
from safeft.guarding.judge import GuardJudge
from safeft.guarding.plainly import reading
from safeft.guarding.policy import Policy, load_policy


def checker(policy: Policy | str | Path) -> Checker:
    """The checker of a shipped policy, of a YAML file, or of a Policy.

    Stages that name the same judge share it. Where the policy says `decode`, each judge also reads
    what is encoded or in disguise.

    Raises ConfigError naming the file, and the nearest known name for a judge or a category that
    there is not; also for a stage whose judge does not read what it holds. Raises StoredError or
    ModelError for a judge's weights.
    """
    if isinstance(policy, Policy):
        chosen, where = policy, f"policy {policy.name!r}"
    else:
        chosen, where = load_policy(policy), str(find("guardrails", str(policy)))
    try:
        judges, seconds = load_guard_judges(chosen)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    if chosen.decode:
        plainly = {id(one): reading(one) for one in (*judges.values(), *seconds.values())}
        judges = {name: plainly[id(one)] for name, one in judges.items()}
        seconds = {name: plainly[id(one)] for name, one in seconds.items()}
    return Checker(chosen, judges, seconds)


def named(made: Checker) -> list[tuple[str, GuardJudge]]:
    """Every judge of a checker, once, under the name that its policy calls it.

    Stages with other `examples` call several judges by one name.
    """
    stages = made.policy.stages
    found = [(stage.judge, made.judges[name]) for name, stage in stages.items()]
    found += [
        (stage.escalate.judge, made.seconds[name])
        for name, stage in stages.items()
        if stage.escalate is not None
    ]
    return list({(called, id(judge)): (called, judge) for called, judge in found}.values())
