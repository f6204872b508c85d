"""The names in our traces, in one place, since the convention that they follow is not settled.

The `gen_ai.security` names are those of OpenTelemetry's proposal for guardrails (pull request 427
of open-telemetry/semantic-conventions-genai), as it stood in September 2026.
"""

from __future__ import annotations

TRACER = "safeft"

REQUEST_SPAN = "safeft.request"
GUARD_SPAN = "safeft.guard"
LEAKED_EVENT = "safeft.leaked"

ROUTE = "http.route"
STATUS = "http.response.status_code"
METHOD = "http.request.method"
LEAKED_TOKENS = "safeft.leaked_tokens"

OPERATION = "gen_ai.operation.name"
RUN_GUARDRAIL = "run_guardrail"
TARGET = "gen_ai.security.target.type"
TARGETS = {
    "input": "llm_input",
    "output": "llm_output",
    "reasoning": "llm_output",
    "tool_calls": "tool_call",
}
GUARDRAIL = "gen_ai.security.guardrail.name"
POLICY = "gen_ai.security.policy.name"
ACTION = "gen_ai.security.action.type"
ACTIONS = {
    "allow": "allow",
    "log": "allow",
    "modify": "modify",
    "block": "block",
    "error": "block",
    "bypass": "allow",
}
"""What was enforced. What it was for is in `OUTCOME`: a failure of the guard is no block there."""
FINDING = "gen_ai.security.risk.finding"
SCORE = "gen_ai.security.risk.score"
HASH = "gen_ai.security.content.input.hash"
TEXT = "gen_ai.security.content.input.value"
ERROR = "error.type"

STAGE = "safeft.guard.stage"
OUTCOME = "safeft.guard.outcome"
ESCALATED = "safeft.guard.escalated"
