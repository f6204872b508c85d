"""Laws of what is said of a judge: its κ with n and source, or that none is published."""

from __future__ import annotations

import json

import pytest

from safeft.assets import folder, read_yaml
from safeft.judges import EndpointJudge, keyword, load_judge, worth
from safeft.judges.catalogue import SHIPPED
from safeft.judges.encoder import WEIGHTS
from safeft.judges.schema import JudgeFile

YAMLS = sorted(folder("eval/judges").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_an_embedded_judge_says_what_its_card_says(name: str) -> None:
    """Estimate, interval, n, whose labels; and for the one that scores, how well it ranks."""
    said = worth(name, load_judge(name))
    assert said.startswith(f"Judge {name}: measures {load_judge(name).measures}; ")
    if name == "toxicity":
        assert "no κ, since it scores; AUROC 0.96 [0.95, 0.97], n=3616 (by us" in said
        return
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())["figures"]
    one = card["keyword" if name == "keyword" else "encoder"]["all"]
    figures = f"κ {one['kappa']:.2f} [{one['low']:.2f}, {one['high']:.2f}] with people"
    assert f"{figures}, n={one['n']} (by us, on XSTest's human labels" in said
    assert "XSTest was in view" in said


def test_every_prompted_judge_has_a_figure_with_its_source_or_none() -> None:
    """The published ones name the labels that they were counted on."""
    found = {path.stem: read_yaml(path, JudgeFile).published for path in YAMLS}
    assert {name for name, one in found.items() if one is None} == {
        *("llama-guard-3", "llama-guard-4", "qwen3guard")
    }
    for one in found.values():
        assert one is None or one.source.endswith("about 7,000 human labels")


def test_without_a_published_figure_none_is_claimed() -> None:
    """A reader is told how to measure one."""
    judge = load_judge("llama-guard-4")
    assert isinstance(judge, EndpointJudge)
    said = worth("llama-guard-4", judge)
    assert said == (
        "Judge llama-guard-4: measures harmful content; no κ with people is published; "
        "safeft judge calibrate measures one."
    )


def test_a_published_figure_is_the_judges_own() -> None:
    """A YAML's, also where its file has the name of a judge that ships."""
    spec = read_yaml(folder("eval/judges") / "llama-guard-4.yaml", JudgeFile)
    published = {"kappa": 0.5, "source": "a paper, n=100"}
    mine = JudgeFile.model_validate(spec.model_dump() | {"published": published})
    judge = EndpointJudge(mine, lambda: pytest.fail("nobody is asked"))
    assert worth("x/keyword.yaml", judge).endswith("; κ 0.50 with people (a paper, n=100).")
    assert worth("keyword", keyword.KeywordJudge()) != worth("x/keyword.yaml", judge)
