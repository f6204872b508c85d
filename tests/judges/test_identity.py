"""Laws of a judge's name: it changes with whatever decides a verdict, and with nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from safeft.judges import KeywordJudge, encoder, keyword, prompted, toxicity
from safeft.judges.identity import code, identity

SOURCE = Path(encoder.__file__).parent


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The modules of the judges, to be changed."""
    return shutil.copytree(SOURCE, tmp_path / "judges")


def name(folder: Path) -> str:
    """A judge of these modules, with weights that stay the same."""
    code.cache_clear()
    return identity("encoder", encoder.RULES, "weights", folder=folder)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("coherence", "MIN_SIMILARITY = 0.25", "MIN_SIMILARITY = 0.5"),
        ("coherence", '"a about above', '"a above'),
        ("coherence", '_SUFFIXES = ("ingly", ', "_SUFFIXES = ("),
        ("defects", "SHORTEST = 3", "SHORTEST = 4"),
        ("vocabulary", "_LEAST = 3", "_LEAST = 4"),
        ("phrases", "|guide", ""),
        ("head", "np.log1p", "np.sqrt"),
        ("encoder", "MAX_TOKENS = 128", "MAX_TOKENS = 256"),
    ],
)
def test_a_rule_is_part_of_the_name(rules: Path, module: str, old: str, new: str) -> None:
    """Thresholds, stop words, stems, phrases and features decide as much as the weights."""
    before, path = name(rules), rules / f"{module}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert name(rules) != before


def test_words_about_the_rules_are_not(rules: Path) -> None:
    """Comments, docstrings, blank lines and line ends may be mended without judging anew."""
    before = name(rules)
    for path in rules.glob("*.py"):
        text = re.sub(r'"""(?=\w)', '"""Well. ', path.read_text())
        text = text.replace("\n\n\n", "\n\n# Mind this.\n\n\n")
        path.write_bytes(text.replace("\n", "\r\n").encode())
    assert name(rules) == before == name(SOURCE)


def test_content_is_part_of_the_name() -> None:
    """Weights, and the encoder beneath them."""
    names = {identity("x", keyword.RULES, one) for one in ("", "weights", "other weights")}
    assert len(names) == 3


def test_names_are_short() -> None:
    """A word and eight digits, the same at every call."""
    assert re.fullmatch(r"keyword@[0-9a-f]{8}", KeywordJudge().name)
    assert KeywordJudge().name == KeywordJudge().name


def test_the_judge_modules_are_all_rules_or_known_not_to_be() -> None:
    """A new module that decides verdicts must be named in `RULES`."""
    bystanders = {"__init__", "catalogue", "gold", "identity", "judge", "keyword", "schema"}
    # The encoder's own rules in another precision; what is asked or said, and never decided.
    bystanders |= {"bfloat16", "endpoint", "published"}
    rules = {*encoder.RULES, *prompted.RULES, *toxicity.RULES}
    assert {path.stem for path in SOURCE.glob("*.py")} == {*rules, *bystanders}
    assert set(keyword.RULES) <= {*encoder.RULES, "keyword"}
