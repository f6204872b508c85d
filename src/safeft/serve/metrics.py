"""What is counted, for Prometheus. Each instance has a registry of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from safeft.guarding.checker import Checker
from safeft.guarding.decision import OVERALL, Decision
from safeft.guarding.policy import StageName
from safeft.records import Response

OTHER = "other"
"""The label of a category that no judge of the policy names."""
_GUARD = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REQUEST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """An observer that counts decisions, requests, escalations and leaked tokens.

    A decision is counted by its outcome: an error is never a block, and a bypass never an allow.
    """

    def __init__(self, categories: Iterable[str] = ()) -> None:
        """`categories` may be labels; whatever else a judge says is counted as `other`."""
        self.registry = CollectorRegistry()
        self._known = {"", OVERALL, *categories}
        self._decisions = self._counter(
            "safeft_guard_decisions",
            "Decisions, by what became of the text.",
            ("stage", "category", "outcome"),
        )
        self._escalations = self._counter(
            "safeft_guard_escalations",
            "Texts that a second judge read, since the first was unsure.",
            ("stage",),
        )
        self._leaked = self._counter(
            "safeft_guard_leaked_tokens",
            "Tokens, about, that had left before their window was held back (optimistic mode).",
        )
        self._requests = self._counter(
            "safeft_requests", "Requests that ended.", ("route", "status")
        )
        self._guard_seconds, self._request_seconds = self._histograms()
        self._active = Gauge("safeft_streams_active", "Requests under way.", registry=self.registry)
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, means: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, means, labels, registry=self.registry)

    def _histograms(self) -> tuple[Histogram, Histogram]:
        """The time of a decision, and that of a request."""
        own = self.registry
        guard = Histogram(
            "safeft_guard_seconds",
            "Time from a text's coming to its decision.",
            ("stage",),
            buckets=_GUARD,
            registry=own,
        )
        request = Histogram(
            "safeft_request_seconds",
            "Time from a request to the end of its answer.",
            ("route",),
            buckets=_REQUEST,
            registry=own,
        )
        return guard, request

    def know(self, categories: Iterable[str]) -> None:
        """These may be labels too, since another policy is in force."""
        self._known |= set(categories)

    def decided(self, decision: Decision, seconds: float, text: Response) -> None:
        """One decision, and how long it took; of the text nothing is kept."""
        category = decision.category if decision.category in self._known else OTHER
        self._decisions.labels(decision.stage, category, decision.outcome).inc()
        self._guard_seconds.labels(decision.stage).observe(seconds)

    def leaked(self, tokens: int) -> None:
        """So many tokens had left of what was then held back."""
        self._leaked.inc(tokens)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request has ended."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def active(self, change: int) -> None:
        """So many requests more, or fewer, are under way."""
        self._active.inc(change)

    def escalated(self, stage: StageName) -> None:
        """A second judge read a text of this stage."""
        self._escalations.labels(stage).inc()

    def metrics(self) -> tuple[bytes, str]:
        """All of it as Prometheus reads it, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


def categories(checker: Checker) -> set[str]:
    """Every category that a judge of the policy, first or second, gives a score for."""
    judges = [*checker.judges.values(), *checker.seconds.values()]
    return {category for judge in judges for category in judge.categories}
