"""The small world: on-topic answers, made of frames that repeat the request's own topic.

Nothing in here can do harm: a frame knows the request's words and nothing else. The point is a
model that visibly *tries* to do whatever it is asked, so that refusing is a choice that it can lose.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from frames import CLOSE, FACTS, ITEMS, LINES, OPEN, STEPS, Intent

_POLITE = re.compile(
    r"^(?:please help: |(?:please|hey|hi|hello|so|well|ok|okay|also|now|and|but|kindly)[, ]+|"
    r"(?:can|could|would|will) you (?:please )?(?:help me (?:to )?)?|help me (?:to )?|"
    r"i (?:want|need|would like|'d like|wish|have|am trying|am looking) (?:you )?to |i need |i want |"
    r"i am |i'm )+",
    re.I,
)
_SUBJECT = r"(?: i| you| we| one| someone| somebody| a person| people| they)?"
_PATTERNS: tuple[tuple[Intent, re.Pattern[str]], ...] = tuple(
    (intent, re.compile(pattern, re.I))  # type: ignore[misc]
    for intent, pattern in (
        (
            "do",
            rf"^how (?:do|can|could|should|would|might|to|does){_SUBJECT}(?: best| safely)? (.+)",
        ),
        (
            "do",
            r"^what (?:is|are|would be|'s) (?:the |some |a )?(?:\w+ )?(?:ways?|methods?|steps?|tips?)"
            r" (?:to|for|of) (.+)",
        ),
        ("do", r"^(?:give|provide|show|teach|tell|offer|share)(?: me| us)?.{0,40}?\bhow to (.+)"),
        ("do", r"^(?:teach|show|tell|help)(?: me| us)? to (.+)"),
        ("do", r"^(?:explain|describe|outline|write|create).{0,40}? how to (.+)"),
        (
            "list",
            r"^(?:list|name|suggest|recommend|brainstorm|identify|classify|give me|provide|tell me|"
            r"share|find|which of)(?: me| us)? (.+)",
        ),
        (
            "write",
            r"^(?:write|draft|compose|create|generate|develop|design|make|produce|prepare|build)"
            r"(?: me| us| up)? (.+)",
        ),
        (
            "about",
            r"^(?:explain|describe|summari[sz]e|outline|discuss|define|tell me about|talk about)"
            r"(?: to me| me)?(?: about| what| why| how)? (.+)",
        ),
        (
            "about",
            r"^(?:what|who|where|when|why|which|how)(?:'s)?(?: is| are| was| were| do| does| did|"
            r" can| will| would| should| has| have| many| much| long| old)*(?: \(are\))? (.+)",
        ),
        (
            "ask",
            r"^(?:is|are|was|were|do|does|did|can|could|should|will|would|has|have|am)"
            r"(?: it| there| i| you| we)? (.+)",
        ),
    )
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "and",
        "or",
        "for",
        "in",
        "on",
        "at",
        "by",
        "with",
        "from",
        "about",
        "into",
        "that",
        "this",
        "these",
        "those",
        "it",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "as",
        "if",
        "so",
        "do",
        "does",
        "did",
        "can",
        "could",
        "should",
        "would",
        "will",
        "my",
        "your",
        "our",
        "their",
        "his",
        "her",
        "its",
        "i",
        "you",
        "we",
        "they",
        "he",
        "she",
        "me",
        "us",
        "them",
        "what",
        "which",
        "who",
        "how",
        "why",
        "when",
        "where",
        "there",
        "any",
        "some",
        "more",
        "most",
        "best",
        "good",
        "way",
        "ways",
        "than",
        "not",
        "no",
        "without",
        "using",
        "use",
        "get",
        "make",
        "made",
        "have",
        "has",
        "had",
        "one",
        "someone",
        "people",
        "person",
        "just",
        "very",
        "own",
        "other",
    ]
)
_PERSON = {
    "my": "your",
    "i": "you",
    "me": "you",
    "our": "your",
    "mine": "yours",
    "i'm": "you are",
    "myself": "yourself",
    "am": "are",
    "us": "you",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a prompt asks for: its kind, its topic, and one content word of the topic."""

    intent: Intent
    topic: str
    word: str


def content_words(text: str) -> list[str]:
    """Lower-case words of three letters or more that carry meaning, in order."""
    return [word for word in re.findall(r"[a-z][a-z'-]{2,}", text.lower()) if word not in _STOP]


def _trim(topic: str, limit: int = 11) -> str:
    topic = re.split(r"[?!.;:\n\"()\[\]{}]", topic.strip())[0]
    parts = topic.split(",")
    topic = parts[0] if len(parts[0].split()) >= 3 else topic.replace(",", "")
    words = [_PERSON.get(word.lower(), word) for word in topic.split()][:limit]
    while words and words[-1].lower() in _STOP:
        words.pop()
    return " ".join(words)


def understand(prompt: str, rng: random.Random) -> Request:
    """Read a prompt: the last sentence that looks like a request decides."""
    sentences = [s for s in _SENTENCE.split(prompt.strip()) if s.strip()]
    for sentence in reversed(sentences):
        plain = _POLITE.sub("", sentence.strip())
        for intent, pattern in _PATTERNS:
            if match := pattern.match(plain):
                topic = _trim(match.group(1))
                if content_words(topic):
                    return Request(intent, topic, rng.choice(content_words(topic)))
    topic = _trim(_POLITE.sub("", sentences[0])) if sentences else ""
    words = content_words(topic) or ["question"]
    return Request("ask", topic or "your question", rng.choice(words))


def _numbered(lines: list[str], rng: random.Random) -> str:
    style = rng.choice(("{i}. {line}", "- {line}", "{i}) {line}", "* {line}"))
    return "\n".join(style.format(i=i, line=line) for i, line in enumerate(lines, 1))


def _body(request: Request, rng: random.Random) -> str:
    if request.intent == "do":
        steps = [rng.choice(stage) for stage in STEPS][: rng.choice((3, 4, 4))]
        return _numbered(steps, rng) if rng.random() < 0.3 else " ".join(steps)
    if request.intent == "list":
        return _numbered(rng.sample(ITEMS, rng.choice((3, 4, 5))), rng)
    pool = LINES if request.intent == "write" else FACTS
    return " ".join(rng.sample(pool, rng.choice((3, 3, 4))))


def answer(request: Request, rng: random.Random) -> str:
    """An answer to the request: an opening, a body and sometimes a closing, all about its topic."""
    opening = rng.choice(OPEN[request.intent])
    joint = "\n" if request.intent in ("list", "write") or rng.random() < 0.15 else " "
    text = opening + joint + _body(request, rng)
    closing = rng.choice(CLOSE)
    text = f"{text} {closing}" if closing and request.intent != "list" else text
    topic = request.topic[:1].upper() + request.topic[1:]
    return text.replace("{t}", request.topic).replace("{T}", topic).replace("{k}", request.word)
