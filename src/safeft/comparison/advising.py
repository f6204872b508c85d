"""`safeft recommend` in words, and the page docs/recommend.md: one table says both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from safeft.report.markdown import escape
from safeft.training.advice import (
    ACCESSES,
    COMPUTES,
    COST,
    OPTIONS,
    Access,
    Option,
    Situation,
    evidence,
    recommended,
)

PAGE = """# Which recipes to try first

`safeft recommend` asks what you have and names two; this page is the same table, written by
`safeft recommend --markdown`. The order is a judgement: what costs little and is best supported
comes first. safeft's own figures, of a tiny embedded model, come with interval and n; beside them
stands what the paper claims. What needs a thing that few have (a base model, a harm adapter) is
named where nothing better fits, even when our figures speak against it: read them. Try both beside
`baseline` on your own model (`safeft compare`), since none of this was measured on it.

```console
safeft recommend                             # weights, nothing trained, safety data, some compute
safeft recommend --trained --base            # an adapter, and the base of the aligned model
safeft recommend --api --no-safety-data      # fine-tuning behind an API
```

Safety data are harmful prompts that may be trained on: the shipped `safety_pool` is enough. Before
either of the two, `safeft audit` says which rows of the data are likely to do harm.
"""


def advice(have: Situation) -> Iterator[str]:
    """The two recipes with their evidence, and how to try them, line by line."""
    known, named = evidence(), recommended(have)
    yield f"You have: {have}."
    for place, one in enumerate(named, 1):
        yield f"{place}. {one.recipe} ({one.slot}; {one.when}; {COST[one.compute]})"
        yield f"   {one.does}"
        yield f"   evidence: {known[one.recipe]}"
    yield "try:"
    yield from (f"  {line}" for line in commands(have, named))


def commands(have: Situation, named: Sequence[Option]) -> Iterator[str]:
    """What to type, names of yours in capitals."""
    api = have.access == "api"
    edits = [one for one in named if one.slot == "weights" and have.trained]
    served = [one for one in named if one.slot == "inference" and (api or have.trained)]
    trained = [one for one in named if one not in (*edits, *served)]
    if edits:
        base = " --base BASE" if have.pair else ""
        yield (
            f"safeft repair ADAPTER --model MODEL{base} --methods {_names(edits)} "
            "--test-data TEST_DATA --output runs/repair"
        )
    for one in served:
        where = "--engine URL" if api else "--adapter ADAPTER"
        yield f'safeft eval MODEL {where} --system-prompt "PROMPT" --output runs/{one.recipe}'
    if api:
        yield from map(_train, trained)
    elif trained:
        yield _compare(trained)


def _names(options: Sequence[Option]) -> str:
    return ",".join(one.recipe for one in options)


def _train(one: Option) -> str:
    how = "".join(f" --set {setting}" for setting in one.settings)
    return (
        f"safeft train {one.recipe}{how} --provider openai --model MODEL --data DATA "
        f"--output runs/{one.recipe}"
    )


def _compare(named: Sequence[Option]) -> str:
    """Beside naive LoRA; a recipe with settings of its own is written out."""
    asked = f"--recipes baseline,{_names(named)}"
    if any(one.settings for one in named):
        changed = [
            {"recipe": one.recipe, "set": [*one.settings]} if one.settings else one.recipe
            for one in named
        ]
        asked = f"--set 'recipes={json.dumps(['baseline', *changed])}'"
    return f"safeft compare {asked} --model MODEL --data DATA --output runs/first"


def advice_markdown() -> str:
    """docs/recommend.md."""
    known = evidence()
    options = [
        (f"`{one.recipe}`", one.slot, one.when, one.needs, COST[one.compute], one.does)
        for one in OPTIONS
    ]
    parts = [
        PAGE.rstrip(),
        "## What to try first",
        _table(("access", "trained already", "base model", "safety data", *_COSTS), _situations()),
        "## What each needs",
        _table(("recipe", "slot", "when", "needs", "costs", "what it does"), options),
        "## Evidence",
        "Completed from the committed comparisons (`recipes/data/evidence.yaml`).",
        _table(
            ("recipe", "measured by us", "claimed", "by"),
            [_cells(one.recipe) for one in OPTIONS if one.recipe in known],
        ),
    ]
    return "\n\n".join(parts) + "\n"


_COSTS = tuple(f"compute: {COST[one]}" for one in COMPUTES)


def _situations() -> Iterator[tuple[str, ...]]:
    """Every situation; compute has a column for each level, and a base model may not matter."""
    either = (False, True)
    every = [(one, trained, data) for one in ACCESSES for trained in either for data in either]
    for access, trained, data in every:
        without, having = (_named(access, trained, pair, data) for pair in either)
        rows = {"either": having} if having == without else {"no": without, "yes": having}
        for pair, named in rows.items():
            yield access, _yes(trained), pair, _yes(data), *named


def _named(access: Access, trained: bool, pair: bool, data: bool) -> list[str]:
    """The two for each level of compute."""
    each = [recommended(Situation(access, trained, pair, data, one)) for one in COMPUTES]
    return [", ".join(f"`{one.recipe}`" for one in two) for two in each]


def _cells(recipe: str) -> tuple[str, ...]:
    one = evidence()[recipe]
    return f"`{recipe}`", one.measured or "not yet", one.claimed, one.source


def _yes(have: bool) -> str:
    return "yes" if have else "no"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(escape(cell) for cell in line)} |" for line in lines)
