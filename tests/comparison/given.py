"""What tests give as YAML: a judge that reads little, and a search's words for a short context."""

from __future__ import annotations

OWN = {
    "name": "mine",
    "model": "testbed:base",
    "measures": "harmful content",
    "template": {"text": "Q {question} A {answer}"},
    "read": {"pattern": "(?P<verdict>[a-z])", "labels": {"t": "fulfilled", "y": "refused"}},
    "max_new_tokens": 4,
}
# The tiny model's context is short: it hears the goal alone.
WORDS = """
name: short
attacker: "{goal}"
first: "{goal}"
again: "{goal}"
attack: '(?s)(?P<prompt>.+)'
topic: "{goal}"
on_topic: '(?P<verdict>yes|no)'
rate: "{goal}"
rating: '(?P<rating>[1-9])'
max_new_tokens: 8
"""
