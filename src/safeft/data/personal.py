"""Personal data and secrets in a text: what kind and where, so that they can be counted and hidden.

Patterns find candidates; checksums (cards, IBANs), the standard library (IP addresses) and Google's
libphonenumber decide. Names and postal addresses are not looked for.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from safeft.errors import ConfigError

KINDS = ("key", "email", "iban", "card", "ip_address", "phone")
_KEY = re.compile(
    r"\bsk-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic
    r"|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{22,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}"  # AWS, Google
    r"|\bxox[abeprs]-[0-9A-Za-z-]{10,}|\bhf_[A-Za-z0-9]{30,}"  # Slack, Hugging Face
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])")
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\d)"
)


@dataclass(frozen=True, slots=True)
class Personal:
    """One finding: its kind, and the characters that it covers."""

    kind: str
    start: int
    end: int


def personal(text: str, region: str | None = None) -> list[Personal]:
    """The findings in a text, in order; none lies within another.

    `region` (`US`, `DE`, …) is where numbers without a country's code are dialled; without it such
    numbers are not taken for phone numbers. IP addresses of private and reserved networks are left
    out. Without the package `phonenumbers` no phone numbers are found: ask `finds_phones`.
    Raises ConfigError for a region that there is not, or that nobody could use.
    """
    found: list[Personal] = []
    for kind, pattern, holds in _PATTERNED:
        for match in pattern.finditer(text):
            if holds(match.group()):
                _add(found, Personal(kind, match.start(), match.end()))
    for phone in _phones(text, region):
        _add(found, phone)
    return sorted(found, key=lambda one: one.start)


def counts(text: str, region: str | None = None) -> dict[str, int]:
    """How many there are of each kind that there is."""
    return dict(Counter(one.kind for one in personal(text, region)))


def hidden(text: str, region: str | None = None) -> str:
    """The text with each finding replaced by its kind in brackets."""
    parts, last = [], 0
    for one in personal(text, region):
        parts += [text[last : one.start], f"[{one.kind}]"]
        last = one.end
    return "".join([*parts, text[last:]])


def finds_phones() -> bool:
    """Whether the package that knows phone numbers is installed."""
    return importlib.util.find_spec("phonenumbers") is not None


def _add(found: list[Personal], new: Personal) -> None:
    """Sixteen digits are a card number or a phone number, not both: the first kind wins."""
    if all(new.end <= one.start or new.start >= one.end for one in found):
        found.append(new)


def _phones(text: str, region: str | None) -> Iterator[Personal]:
    if not finds_phones():
        if region is not None:
            raise ConfigError("region: phone numbers need a package: pip install 'safeft[audit]'")
        return
    import phonenumbers

    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigError(f"region {region!r} is not known; give two capitals, such as US or DE")
    for match in phonenumbers.PhoneNumberMatcher(text, region):
        yield Personal("phone", match.start, match.end)


def _is_card(text: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1), and more than one digit repeated."""
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [sum(divmod(2 * one, 10)) for one in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


def _is_iban(text: str) -> bool:
    """The remainder by 97 of ISO 13616."""
    plain = text.replace(" ", "")
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def _is_global(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _always(_: str) -> bool:
    return True


_PATTERNED: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("key", _KEY, _always),
    ("email", _EMAIL, _always),
    ("iban", _IBAN, _is_iban),
    ("card", _CARD, _is_card),
    ("ip_address", _ADDRESS, _is_global),
)
