"""What is counted, and under which names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from safeft.guarding.checker import Checker
from safeft.guarding.decision import Decision, Outcome, failed
from safeft.guarding.policy import Policy, Stage
from safeft.records import Prompt, Response, Verdict
from safeft.serve.metrics import OTHER, Metrics, categories

ANSWER = Response(Prompt.of("What is a secret?"), "a secret answer")
BY_OUTCOME: dict[Outcome, Decision] = {
    "allow": Decision("output", "allow", False, "harm", 0.1),
    "log": Decision("output", "log", False, "harm", 0.9),
    "modify": Decision("output", "redact", True, "harm", 0.9),
    "block": Decision("output", "block", True, "harm", 0.9),
    "error": failed("output", Stage(on_error="closed"), "timeout"),
    "bypass": failed("output", Stage(on_error="open"), "timeout"),
}


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    """The value of one series; 0 when it was never touched."""
    return metrics.registry.get_sample_value(name, labels) or 0.0


def decisions(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    """Every series of the decisions, as a scraper reads them."""
    text = metrics.metrics()[0].decode()
    return {
        (one.labels["stage"], one.labels["category"], one.labels["outcome"]): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == "safeft_guard_decisions_total"
    }


@pytest.mark.parametrize("outcome", BY_OUTCOME)
def test_each_outcome_is_counted_as_itself_alone(outcome: Outcome) -> None:
    """An error, whose action is to block, is no block; a bypass, which allows, is no allow."""
    metrics, decision = Metrics(["harm"]), BY_OUTCOME[outcome]
    metrics.decided(decision, 0.01, ANSWER)
    assert decisions(metrics) == {("output", decision.category, outcome): 1.0}


def test_a_category_that_no_judge_names_is_other() -> None:
    """Until a policy whose judges name it is in force."""
    metrics, strange = Metrics(["harm"]), Decision("output", category="strange", score=0.1)
    metrics.decided(strange, 0.01, ANSWER)
    metrics.know(["strange"])
    metrics.decided(strange, 0.01, ANSWER)
    assert decisions(metrics) == {("output", OTHER, "allow"): 1, ("output", "strange", "allow"): 1}


@given(st.lists(st.text(), max_size=30))
def test_whatever_a_judge_says_the_labels_are_bounded(said: list[str]) -> None:
    """A judge that makes up categories cannot fill the memory of a scraper."""
    metrics = Metrics(["harm"])
    for category in said:
        metrics.decided(Decision("input", category=category, score=0.1), 0.0, ANSWER)
    found = decisions(metrics)
    assert {category for _, category, _ in found} <= {"", "unsafe", "harm", OTHER}
    assert sum(found.values()) == len(said)


def test_decisions_of_many_threads_are_all_counted() -> None:
    """Checks run in threads, and none gets lost."""
    metrics = Metrics(["harm"])
    with ThreadPoolExecutor(8) as pool:
        for decision in list(BY_OUTCOME.values()) * 100:
            pool.submit(metrics.decided, decision, 0.001, ANSWER)
    assert set(decisions(metrics).values()) == {100.0}
    assert counted(metrics, "safeft_guard_seconds_count", stage="output") == 600


def test_times_are_kept_by_stage_and_by_route() -> None:
    """In seconds: sum, count and cumulative buckets."""
    metrics = Metrics()
    for seconds in (0.004, 0.3):
        metrics.decided(BY_OUTCOME["allow"], seconds, ANSWER)
        metrics.request("/v1/chat/completions", 200, 10 * seconds)
    own = {"stage": "output"}
    assert counted(metrics, "safeft_guard_seconds_sum", **own) == pytest.approx(0.304)
    assert counted(metrics, "safeft_guard_seconds_bucket", le="0.005", **own) == 1
    assert counted(metrics, "safeft_guard_seconds_bucket", le="0.5", **own) == 2
    route = {"route": "/v1/chat/completions"}
    assert counted(metrics, "safeft_request_seconds_count", **route) == 2
    assert counted(metrics, "safeft_request_seconds_sum", **route) == pytest.approx(3.04)


def test_requests_streams_escalations_and_leaks() -> None:
    """Each under its own name; a gauge goes down again."""
    metrics = Metrics()
    for status in (200, 200, 502):
        metrics.request("/v1/models", status, 0.1)
    for change in (1, 1, -1):
        metrics.active(change)
    metrics.escalated("input")
    metrics.leaked(3)
    metrics.leaked(4)
    route = {"route": "/v1/models"}
    assert counted(metrics, "safeft_requests_total", status="200", **route) == 2
    assert counted(metrics, "safeft_requests_total", status="502", **route) == 1
    assert counted(metrics, "safeft_streams_active") == 1
    assert counted(metrics, "safeft_guard_escalations_total", stage="input") == 1
    assert counted(metrics, "safeft_guard_leaked_tokens_total") == 7


def test_instances_share_nothing() -> None:
    """Two proxies in one process count for themselves."""
    one, other = Metrics(["harm"]), Metrics(["harm"])
    one.decided(BY_OUTCOME["block"], 0.01, ANSWER)
    assert decisions(one) and not decisions(other)


def test_what_is_shown_holds_no_text_and_is_prometheus_own_format() -> None:
    """With the memory of the process, so that a leak is seen."""
    metrics = Metrics(["harm"])
    metrics.decided(BY_OUTCOME["block"], 0.01, ANSWER)
    shown, kind = metrics.metrics()
    assert kind.startswith("text/plain") and b"secret" not in shown
    names = {one.name for one in text_string_to_metric_families(shown.decode())}
    assert {"safeft_guard_decisions", "safeft_requests", "process_resident_memory_bytes"} <= names


class _Judge:
    """Names its categories; nobody asks it anything here."""

    name, measures = "j", "harm"

    def __init__(self, *categories: str) -> None:
        self.categories = categories

    def __call__(self, responses: object) -> list[Verdict]:
        raise AssertionError

    def requests(self, prompts: object) -> list[Verdict]:
        raise AssertionError


def test_the_labels_are_the_categories_of_every_judge_of_the_policy() -> None:
    """Of all stages, and of the judges that only see what is escalated."""
    policy = Policy(name="p", refusal="No.", input=Stage(), output=Stage())
    judges = {"input": _Judge("harm"), "output": _Judge("harm", "insult")}
    checker = Checker(policy, judges, {"output": _Judge("weapons")})
    assert categories(checker) == {"harm", "insult", "weapons"}
    checker.close()
