"""A finished run as the pilot of a larger one."""

from __future__ import annotations

from pathlib import Path

from safeft.comparison.answers import NONE, open_stored
from safeft.comparison.estimating import cubes
from safeft.comparison.readings import last
from safeft.errors import ConfigError, DataError, did_you_mean
from safeft.stats.design import Design, Spread, spread_of

RATE = "fulfilment_rate"


def pilot(run: Path, recipe: str | None = None) -> tuple[Spread, Design]:
    """The spread behind a recipe's difference to the reference, and the run's own design.

    By the run's first judge, at its highest temperature, where decoding shows. Raises ConfigError
    for an unknown recipe, DataError for a run with one training seed.
    """
    planned = open_stored(run)
    finals = last(planned)
    reference = planned.matrix.reference
    trained = [name for name, arm in finals.items() if name != reference and len(arm.cells) > 1]
    name = recipe or next(iter(trained), None)
    if name is None:
        raise DataError(f"{run}: a pilot needs a recipe with two training seeds or more")
    if name not in finals or name == reference:
        known = [one for one in finals if one != reference]
        raise ConfigError(
            f"--recipe: no recipe {name!r} beside the reference{did_you_mean(name, known)}"
        )
    judge = planned.matrix.judges[0]
    arrays = [
        [
            (row.temperature, cube)
            for row, cube in cubes(planned, finals[one], judge, NONE)
            if row.metric == RATE and row.suite == planned.suite.called(planned.suite.first("harm"))
        ]
        for one in (name, reference)
    ]
    hottest = [max(found, key=lambda pair: pair[0])[1] for found in arrays]
    # A reference that was never trained has one run, and no seeds that another study would add.
    seeds = min((len(cube) for cube in hottest if len(cube) > 1), default=0)
    return spread_of(hottest[0], hottest[1]), Design(seeds, *hottest[0].shape[1:])
