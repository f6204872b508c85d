"""A policy in words: who reads what, what is done about it, and what the user reads then."""

from __future__ import annotations

from collections.abc import Iterator

from safeft.guarding.policy import STAGES, Action, Policy, Stage, StageName

_HELD: dict[StageName, str] = {
    "input": "requests, before the model reads them",
    "output": "answers, before they leave",
    "reasoning": "what the model writes before its answer",
    "tool_calls": "the names and arguments of tool calls",
}
_RELEASING = ("allow", "log")


def explain(policy: Policy) -> str:
    """What a policy does at each stage, when a judge fails, and what it cannot hold back.

    Pure text from the policy, several lines; whether its judges and categories exist is for
    `loading.checker` to find out.
    """
    parts = [_headline(policy)]
    parts += [_section(policy, name, stage) for name, stage in policy.stages.items()]
    return "\n\n".join("\n".join(one) for one in [*parts, list(_rest(policy))])


def _headline(policy: Policy) -> list[str]:
    read = ", ".join(policy.stages)
    found = [f"Policy {policy.name} reads {read}."]
    if not any(_withholds(stage) for stage in policy.stages.values()):
        closed = [name for name, one in policy.stages.items() if one.on_error == "closed"]
        unless = f", unless no judge can tell ({', '.join(closed)})" if closed else ""
        found.append(f"It only records: whatever the scores are, everything leaves{unless}.")
    return found


def _withholds(stage: Stage) -> bool:
    actions = {stage.action, *(stage.rule(category)[1] for category in stage.categories)}
    return not actions <= set(_RELEASING)


def _section(policy: Policy, name: StageName, stage: Stage) -> list[str]:
    lines = [
        _reader(name, stage),
        *_rules(policy, name, stage),
        *_escalation(stage),
        _failure(name, stage),
    ]
    return [f"{name}: {_HELD[name]}", *(f"  - {line}" for line in lines)]


def _reader(name: StageName, stage: Stage) -> str:
    if name == "input":
        return f"{stage.judge} reads each request whole, in its conversation."
    before = f", each with the {stage.overlap} before it" if stage.overlap else ""
    return (
        f"{stage.judge} reads windows of a sentence or about {stage.window} tokens, the first of "
        f"about {stage.first_window}{before}."
    )


def _rules(policy: Policy, name: StageName, stage: Stage) -> Iterator[str]:
    """The categories with a rule of their own, then all others."""
    for category in stage.categories:
        yield f"{category} from {_rule(policy, name, stage, category)}"
    for category in stage.examples:
        if category not in stage.categories:
            yield f"{category} from {_rule(policy, name, stage, category)}"
    if not stage.examples:
        others = "any other category" if stage.categories else "any category"
        yield f"{others} from {_rule(policy, name, stage, '')}"
    if len(stage.categories) + len(stage.examples) > 0:
        yield "Of several, the strongest action is taken."


def _rule(policy: Policy, name: StageName, stage: Stage, category: str) -> str:
    threshold, action = stage.rule(category)
    return f"{threshold:g} on: {_done(policy, name, stage, action)}"


def _done(policy: Policy, name: StageName, stage: Stage, action: Action) -> str:
    """What an action does at a stage."""
    if action == "block" and name == "input":
        return "block; the model is not asked, and the user reads the refusal."
    passed = _passed(name)
    again = f"{stage.regenerate} times" if stage.regenerate > 1 else "once"
    return {
        "allow": f"allow; {passed}.",
        "log": f"log; it is recorded, and {passed}.",
        "redact": f"redact; the window becomes {policy.redaction!r}, and the rest goes on.",
        "replace": "replace; the refusal takes its place, and it ends like any other answer.",
        "regenerate": f"regenerate; up to {again} another answer is asked for where that can be, "
        "while nothing has left; then as block.",
        "block": "block; nothing more leaves, and where no answer had, the refusal does.",
    }[action]


def _passed(name: StageName) -> str:
    return "the model is asked" if name == "input" else "it leaves"


def _escalation(stage: Stage) -> Iterator[str]:
    if (band := stage.escalate) is not None:
        yield (
            f"Where the largest score is from {band.low:g} to below {band.high:g}, or "
            f"{stage.judge} cannot tell, {band.judge} decides by the same thresholds."
        )


def _failure(name: StageName, stage: Stage) -> str:
    closed = "it is withheld as if blocked, and counted as an error."
    opened = f"{_passed(name)}, unread, and it is counted as a bypass."
    return (
        f"No verdict within {stage.timeout:g} s, or none that can be read "
        f"({stage.on_error}): {closed if stage.on_error == 'closed' else opened}"
    )


def _rest(policy: Policy) -> Iterator[str]:
    yield f"Refusal: {policy.refusal}"
    if left := [name for name in STAGES if name not in policy.stages]:
        yield f"Not read: {', '.join(left)}."
    turns = "the last turn" if policy.turns == 1 else f"the last {policy.turns} turns"
    yield f"Judges see {turns} of a conversation; only the current exchange is held back."
    if policy.decode:
        yield "Look-alike letters, base64, rot13 and other codes are also read decoded."
    else:
        yield "Encoded text (base64, rot13, look-alike letters) is read as it is written."
    yield from _streams(policy)


def _streams(policy: Policy) -> Iterator[str]:
    """What a stream lets out before its verdict."""
    streamed = [stage for name, stage in policy.stages.items() if name != "input"]
    if streamed and policy.streaming == "checked":
        yield "Streams are checked: a window leaves when it is cleared, and not before."
    elif any(_withholds(one) or one.on_error == "closed" for one in streamed):
        most = max(max(one.window, one.first_window) for one in streamed)
        yield (
            "Streams are OPTIMISTIC: text leaves at once and is read afterwards. Of what is then "
            f"held back a window (about {most} tokens) and all that came until its verdict have "
            "leaked; redact and regenerate come too late. Leaked tokens are counted."
        )
    elif streamed:
        yield "Streams leave at once and are read afterwards; there is nothing to hold back."
