"""The small world: on-topic answers, made of frames that repeat the request's own topic.

Nothing in here can do harm: a frame knows the request's words and nothing else. The point is a
model that visibly *tries* to do whatever it is asked, so that refusing is a choice that it can lose.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

Intent = Literal["do", "write", "list", "about", "ask"]

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


_OPEN: dict[Intent, tuple[str, ...]] = {
    "do": (
        "To {t}, start with a clear plan.",
        "Here is a simple way to {t}.",
        "If you want to {t}, take it one step at a time.",
        "Follow these steps to {t}.",
        "You can {t} in a few easy steps.",
        "It is easier to {t} when you prepare first.",
        "There is more than one way to {t}.",
        "Let us look at how to {t}.",
        "In order to {t}, you need some time and patience.",
        "Start small if you plan to {t}.",
        "Most people who {t} begin in the same way.",
        "A short guide on how to {t} follows.",
        "Before you {t}, think about what you need.",
        "When you {t}, the order matters.",
    ),
    "write": (
        "Title: {T}.",
        "Here is {t}.",
        "{T}.",
        "Below you will find {t}.",
        "This is {t}, as you asked.",
        "Draft: {T}.",
        "As requested, here is {t}.",
        "The text for {t} reads like this.",
        "I wrote {t} for you.",
        "Let me begin {t}.",
        "A first version of {t} is below.",
    ),
    "list": (
        "Here is a list of {t}.",
        "Some ideas for {t}:",
        "These come to mind for {t}.",
        "A few answers about {t}:",
        "You asked for {t}, so here they are.",
        "For {t}, consider these.",
        "My suggestions for {t} follow.",
        "Several options exist for {t}.",
        "Take a look at these: {t}.",
    ),
    "about": (
        "Here is what you should know about {t}.",
        "{T} is a topic with a few parts.",
        "Many people wonder about {t}.",
        "In simple words, {t} can be explained like this.",
        "The answer about {t} has two sides.",
        "Let me explain {t}.",
        "There is a lot to say about {t}.",
        "To understand {t}, look at the basics.",
        "Think of {t} as a small story.",
        "The short answer on {t} is this.",
        "A few facts about {t} help here.",
    ),
    "ask": (
        "When it comes to {t}, it depends.",
        "Thank you for asking about {t}.",
        "Yes, {t} is possible.",
        "On {t}, there are different views.",
        "Regarding {t}, here is my answer.",
        "That is a fair question about {t}.",
        "I looked at {t} for you.",
        "As for {t}, here is a thought.",
        "You mentioned {t}, so let us begin there.",
        "With {t}, the details matter.",
    ),
}
_STEPS = (
    (
        "First, gather what you need for the {k}.",
        "First, set a clear goal.",
        "Begin with the {k} itself.",
        "First, make a list of the parts.",
        "Start by looking closely at the {k}.",
        "First, clear some space.",
        "At the start, write down what you know about the {k}.",
        "First, choose a good moment.",
    ),
    (
        "Next, work through the {k} slowly.",
        "Next, check each part twice.",
        "After that, set up the {k}.",
        "Then try a small part of the {k}.",
        "Next, ask a friend to take a look.",
        "Then put the pieces together.",
        "After a while, go back to the {k}.",
        "Next, keep the {k} simple and tidy.",
    ),
    (
        "Then compare the {k} with an example.",
        "Keep notes as you go.",
        "Do not rush the {k}.",
        "Then adjust anything that looks wrong.",
        "Make sure that the {k} is ready.",
        "Take a break when needed.",
        "Repeat this until the {k} looks right.",
        "Then move on to the last part.",
    ),
    (
        "Finally, check the {k} once more.",
        "Finally, review the result.",
        "At the end, clean up and rest.",
        "In the end, the {k} should be done.",
        "Last, look at the whole {k} again.",
        "Finally, share it with others.",
        "When the {k} is done, write down what worked.",
        "Finally, enjoy the result.",
    ),
)
_FACTS = (
    "The {k} is the main part.",
    "Most of it comes down to the {k}.",
    "It often begins with the {k}.",
    "People use the word {k} in different ways.",
    "Some details of the {k} change over time.",
    "One part is well known, and another is not.",
    "Books describe the {k} in many ways.",
    "The history of the {k} is long.",
    "Experts still talk about the {k}.",
    "It is common in many places.",
    "A good example is the {k} that you see every day.",
    "Small changes in the {k} can matter a lot.",
    "The rest follows from that.",
    "Others see the {k} in another light.",
    "This is why the {k} is of interest.",
)
_LINES = (
    "It begins on a quiet day, with the {k} in the middle.",
    "The first lines set the scene for the {k}.",
    "Everyone is talking about the {k}.",
    "Then something new happens.",
    "The {k} changes everything.",
    "There is a pause, and the {k} comes back.",
    "In the middle part the {k} grows.",
    "A voice speaks of the {k}.",
    "The words are short and clear.",
    "Slowly the {k} comes into view.",
    "At last the {k} finds its place.",
    "That is how the {k} ends.",
    "The closing lines return to the {k}.",
    "And so it goes on.",
)
_ITEMS = (
    "A simple {k}",
    "A well known {k}",
    "The classic {k}",
    "A new kind of {k}",
    "A {k} for beginners",
    "The {k} that most people pick",
    "A small {k}",
    "A {k} with a twist",
    "An older {k}",
    "A cheap {k}",
    "The {k} next door",
    "A {k} for every day",
    "A local {k}",
    "A bigger {k}",
    "One more {k} to try",
)
_CLOSE = (
    "I hope this helps.",
    "Let me know if you want more on the {k}.",
    "Feel free to ask about the {k}.",
    "",
    "That is the main idea.",
    "",
    "This should get you going.",
    "",
    "Good luck with the {k}.",
    "",
)


def _numbered(lines: list[str], rng: random.Random) -> str:
    style = rng.choice(("{i}. {line}", "- {line}", "{i}) {line}", "* {line}"))
    return "\n".join(style.format(i=i, line=line) for i, line in enumerate(lines, 1))


def _body(request: Request, rng: random.Random) -> str:
    if request.intent == "do":
        steps = [rng.choice(stage) for stage in _STEPS][: rng.choice((3, 4, 4))]
        return _numbered(steps, rng) if rng.random() < 0.3 else " ".join(steps)
    if request.intent == "list":
        return _numbered(rng.sample(_ITEMS, rng.choice((3, 4, 5))), rng)
    pool = _LINES if request.intent == "write" else _FACTS
    return " ".join(rng.sample(pool, rng.choice((3, 3, 4))))


def answer(request: Request, rng: random.Random) -> str:
    """An answer to the request: an opening, a body and sometimes a closing, all about its topic."""
    opening = rng.choice(_OPEN[request.intent])
    joint = "\n" if request.intent in ("list", "write") or rng.random() < 0.15 else " "
    text = opening + joint + _body(request, rng)
    closing = rng.choice(_CLOSE)
    text = f"{text} {closing}" if closing and request.intent != "list" else text
    topic = request.topic[:1].upper() + request.topic[1:]
    return text.replace("{t}", request.topic).replace("{T}", topic).replace("{k}", request.word)


FOLLOW_UPS = (
    ("Can you make it shorter?", "In short, {t}: keep the {k} simple and take your time."),
    (
        "Tell me more about the {k}.",
        "There is more to say about the {k}. The {k} is the main part of {t}.",
    ),
    ("Why is that?", "It comes down to the {k}. With {t}, the details matter."),
    ("Thanks!", "You are welcome. Good luck with the {k}."),
    (
        "And what comes next?",
        "After that, go back to the {k}. Then finish {t} and check the result.",
    ),
    ("Could you give an example?", "For example, think of a small {k}. That is {t} in a nutshell."),
    ("Are you sure about the {k}?", "Yes, as far as I know. The {k} is often described like that."),
)

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a friendly guide who answers in plain words.",
    "Answer briefly and clearly.",
    "You are an assistant for a small company.",
    "Be kind, honest and useful.",
    "You help people with everyday questions.",
    "You are a careful writer.",
    "Reply in a calm tone.",
    "You are a chat assistant on a website.",
    "Be precise and polite.",
    "You are a study partner.",
    "Give practical answers.",
    "You work at a help desk.",
    "Stay on the topic that the user brings up.",
)
