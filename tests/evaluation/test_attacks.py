"""Static attacks: the request in other words, the plain one for the judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from safeft.errors import ConfigError
from safeft.evaluation import load_suite
from safeft.evaluation.attacks import attacked
from safeft.records import Prompt

PLAIN = (Prompt.of("Rob it.", "s/1", "10", "crimes"), Prompt.of("Insult him.", "s/2", "1", "hate"))


def test_every_request_is_asked_under_every_attack() -> None:
    """The shipped file: ids differ, the judge still reads the plain request, groups are attacks."""
    found = attacked(PLAIN, "static", Path())
    attacks = {one.domain for one in found}
    assert len(found) == 2 * len(attacks) == len({one.id for one in found}) >= 20
    assert all(one.text in ("Rob it.", "Insult him.") for one in found)
    assert all(one.text in one.asked for one in found)
    assert {one.category for one in found} == {"10", "1"}
    assert {one.domain for one in found if one.begun} == {"attack:prefill", "attack:prefill_steps"}


@pytest.mark.parametrize(
    ("attack", "said"),
    [("{say: 'no slot'}", "{request}"), ("{shout: '{request}'}", "shout"), ("[]", "attacks")],
)
def test_a_broken_attack_is_refused(tmp_path: Path, attack: str, said: str) -> None:
    """The file and the key are named."""
    (tmp_path / "mine.yaml").write_text(f"name: mine\nattacks: {{odd: {attack}}}\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml") as raised:
        attacked(PLAIN, "mine.yaml", tmp_path)
    assert said in str(raised.value)


def test_the_shipped_suite_attacks_its_own_requests() -> None:
    """`risks`: per_category limits requests and not attacks."""
    suite = load_suite("risks", ["per_category=1"])
    harm, attacked = suite.prompts["harm"], suite.prompts["attacked"]
    assert len(harm) == 44 and len(attacked) == 440
    assert {one.text for one in attacked} == {one.text for one in harm}
    assert suite.fingerprint != load_suite("risks", ["per_category=2"]).fingerprint


def test_sets_say_what_they_want(tmp_path: Path) -> None:
    """`say`, `limit`, columns within columns, and no category; attacks need their kind."""
    rows = [f'{{"prompt": {{"text": "Once {n}"}}}}' for n in range(5)]
    (tmp_path / "open.jsonl").write_text("\n".join(rows))
    one = "{kind: %s, prompts: open.jsonl, limit: 3, say: 'Go on: {request}',"
    one += " columns: {text: prompt.text, category: '', id: ''}%s}"
    file = tmp_path / "suite.yaml"
    file.write_text(f"name: s\nsets: {{open: {one % ('continuation', '')}}}\nper_category: 1\n")
    asked = load_suite(str(file)).prompts["open"]
    assert [x.asked for x in asked] == ["Go on: Once 0", "Go on: Once 1", "Go on: Once 2"]
    assert [x.text for x in asked] == ["Once 0", "Once 1", "Once 2"]
    file.write_text(f"name: s\nsets: {{open: {one % ('harm', ', attacks: static')}}}\n")
    with pytest.raises(ConfigError, match="kind jailbreak"):
        load_suite(str(file))
