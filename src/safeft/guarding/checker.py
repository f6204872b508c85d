"""The checker: a policy and its judges. Texts in, decisions out, whatever the judges do."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial

from safeft.errors import SafeftError
from safeft.guarding.conversation import conversation
from safeft.guarding.decision import Decision, decide, failed, unsure
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import Policy, Stage, StageName
from safeft.records import Prompt, Response, Verdict

_LOG = logging.getLogger("safeft")
AT_ONCE = 32
"""Texts that a stage's timeout is meant for; a check of more of them has as much longer."""


class _SlowError(Exception):
    """A judge that took longer than it may."""


class Checker:
    """Decides. It never raises for what a judge does: that is a decision of its own.

    What is to be decided about comes as responses: the conversation in `prompt`, the text that
    wants to leave in `text`. At the input stage only `prompt` is read, the conversation that ends
    with the request. Of a conversation the judges see what `seen` leaves.
    """

    def __init__(
        self,
        policy: Policy,
        judges: Mapping[StageName, GuardJudge],
        seconds: Mapping[StageName, GuardJudge] | None = None,
    ) -> None:
        """`judges` reads each stage of the policy, `seconds` what a stage escalates."""
        self.policy = policy
        self.judges = dict(judges)
        self.seconds = dict(seconds or {})
        self._threads = ThreadPoolExecutor(2 * len(judges) + 2, thread_name_prefix="safeft-guard")

    def decide(self, name: StageName, texts: Sequence[Response]) -> list[Decision]:
        """One decision a text, in order. A stage that the policy leaves out clears everything."""
        stage = self.policy.stages.get(name)
        if stage is None or not texts:
            return [Decision(name) for _ in texts]
        read = [Response(seen(one.prompt, self.policy.turns), one.text) for one in texts]
        found = self._decided(name, stage, self.judges[name], read)
        places = [place for place, (_, doubtful) in enumerate(found) if doubtful]
        decisions = [decision for decision, _ in found]
        if places:
            asked = [read[place] for place in places]
            second = self._decided(name, stage, self.seconds[name], asked, escalated=True)
            for place, (decision, _) in zip(places, second, strict=True):
                decisions[place] = _either(decisions[place], decision)
        return decisions

    def _decided(
        self,
        name: StageName,
        stage: Stage,
        judge: GuardJudge,
        texts: Sequence[Response],
        *,
        escalated: bool = False,
    ) -> list[tuple[Decision, bool]]:
        """Decisions by one judge, and whether a second one is wanted."""
        band = None if escalated else stage.escalate
        try:
            return [
                (decide(name, stage, one, escalated=escalated), bool(band and unsure(band, one)))
                for one in self._verdicts(name, judge, texts, stage.timeout)
            ]
        except _SlowError:
            _LOG.warning("%s took over %g s at the %s", judge.name, stage.timeout, name)
            error = "timeout"
        except Exception as raised:  # of any judge: it is a decision of its own
            if len(texts) > 1:
                # One by one, so that a text that breaks the judge decides for itself alone: with
                # `on_error: open` it would otherwise carry its whole batch out unread.
                return [
                    found
                    for one in texts
                    for found in self._decided(name, stage, judge, [one], escalated=escalated)
                ]
            # What went wrong, and never the text, which an exception may quote.
            _LOG.warning("%s failed at the %s: %s", judge.name, name, type(raised).__name__)
            error = "failed"
        lost = replace(failed(name, stage, error, judge=judge.name), escalated=escalated)
        return [(lost, band is not None) for _ in texts]

    def _verdicts(
        self, name: StageName, judge: GuardJudge, texts: Sequence[Response], timeout: float
    ) -> list[Verdict]:
        """Verdicts that fit the texts; _SlowError when the judge takes too long."""
        read: Callable[[], list[Verdict]] = partial(judge, texts)
        if name == "input":
            read = partial(judge.requests, [one.prompt for one in texts])
        asked = self._threads.submit(read)
        if not wait([asked], timeout * math.ceil(len(texts) / AT_ONCE)).done:
            asked.cancel()  # when it has not begun, nobody needs it any more
            raise _SlowError
        verdicts = asked.result()
        if [one.prompt_id for one in verdicts] != [one.prompt.id for one in texts]:
            raise SafeftError(f"{judge.name} did not return one verdict per text, in order")
        return verdicts

    def close(self) -> None:
        """Wait for nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def seen(prompt: Prompt, turns: int) -> Prompt:
    """What a judge sees of a prompt: its conversation's last turns, as the model is asked them.

    What only an evaluation knows, such as the plain request behind an encoded one, is left out: a
    guard that is served does not know it either.
    """
    return Prompt(prompt.id, conversation(prompt.messages, turns))


def _either(first: Decision, second: Decision) -> Decision:
    """The second judge's decision; the first one's where the second released a text unread.

    The text was read then, if not surely.
    """
    unread = second.unsafe is None and second.released and first.unsafe is not None
    return replace(first, escalated=True) if unread else second
