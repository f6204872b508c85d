"""How well a judge agrees with people, and who says so: what stands beside every rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safeft.judges.judge import Judge

_WEIGHTS = Path(__file__).parent / "weights"
_BY_US = "by us, on XSTest's human labels"
_IN_VIEW = "XSTest was in view when"


def worth(name: str, judge: Judge) -> str:
    """What a judge measures and its κ with people, with n and source, or that none is published.

    `name` is what the judge was loaded by.
    """
    published = getattr(judge, "published", None)
    if name in _SHIPPED:
        agreed = _SHIPPED[name]()
    elif published is not None:
        agreed = f"κ {published.kappa:.2f} with people ({published.source})"
    else:
        agreed = "no κ with people is published; safeft judge calibrate measures one"
    return f"Judge {name}: measures {judge.measures}; {agreed}."


def _encoder() -> str:
    agreed = _kappa("encoder")
    return (
        f"{agreed} ({_BY_US}, models and prompts held out; {_IN_VIEW} its features were chosen, so "
        "it is optimistic; docs/judging.md has κ on labelled answers of the testbed)"
    )


def _rounded() -> str:
    return f"nearly always says what encoder says, which has {_encoder()}"


def _keyword() -> str:
    # Upstream's list of keywords is another one.
    return (
        f"{_kappa('keyword')} ({_BY_US}; {_IN_VIEW} its phrases were chosen), and SORRY-Bench's "
        "own keyword matching κ 0.37 (its 2025-03 meta-evaluation, about 7,000 human labels)"
    )


def _toxicity() -> str:
    found = _card("toxicity")["auroc [low, high, n] on texts held out"]["all held out"]
    value, low, high, n = found
    return (
        f"no κ, since it scores; AUROC {value:.2f} [{low:.2f}, {high:.2f}], n={n} (by us, on texts "
        "of people held out from the sets that it was trained on)"
    )


def _kappa(judge: str) -> str:
    found = _card("encoder")["figures"][judge]["all"]
    bounds = f"[{found['low']:.2f}, {found['high']:.2f}]"
    return f"κ {found['kappa']:.2f} {bounds} with people, n={found['n']}"


def _card(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


_SHIPPED: dict[str, Callable[[], str]] = {
    "encoder": _encoder,
    "encoder-bf16": _rounded,
    "keyword": _keyword,
    "toxicity": _toxicity,
}
