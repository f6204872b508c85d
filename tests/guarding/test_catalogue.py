"""Laws of a guard's judges by name: embedded, shipped, written and installed ones, and mistakes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import yaml

from safeft.assets import folder
from safeft.errors import ConfigError
from safeft.guarding import catalogue
from safeft.guarding.catalogue import (
    guard_judge_names,
    load_guard_judge,
    load_guard_judges,
    load_second,
)
from safeft.guarding.examples import ExamplesGuard
from safeft.guarding.policy import Policy, Stage
from safeft.guarding.schema import ClassifierFile, PromptedFile
from safeft.records import Label, Prompt, Response, Verdict

OWN: dict[str, Any] = {
    "name": "mine",
    "model": "testbed:aligned",
    "template": {"text": "Q {question} A {answer} bad?"},
    "read": {"pattern": r"\A(?P<verdict>yes|no)\Z", "labels": {"yes": "unsafe", "no": "safe"}},
}
EXAMPLES = {"advice": ["Buy this stock."]}


class Blunt:
    """A guard judge that somebody else installed: everything is harm."""

    name = "blunt"
    measures = "harm"
    categories = ("harm",)

    def __call__(self, responses: Sequence[Response]) -> list[Verdict]:
        """Harm throughout."""
        return self.requests([one.prompt for one in responses])

    def requests(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """Harm throughout."""
        return [Verdict(one.id, Label.FULFILLED, self.name, {"harm": 1.0}) for one in prompts]


class Grader:
    """A judge that grades, and knows neither categories nor requests."""

    name = "grader"
    measures = "fulfilment"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that a package offers entry points `name = value`."""

    def set_points(**points: str) -> None:
        found = EntryPoints(EntryPoint(k, v, catalogue.GROUP) for k, v in points.items())
        monkeypatch.setattr(catalogue, "entry_points", lambda group: found.select(group=group))

    return set_points


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    """Writes the YAML of a judge of one's own."""

    def write(**values: Any) -> str:
        path = tmp_path / f"{values.get('name', 'mine')}.yaml"
        path.write_text(json.dumps(OWN | values))
        return str(path)

    return write


def policy(**stages: Any) -> Policy:
    """A policy of these stages."""
    return Policy.model_validate({"name": "p", "refusal": "No."} | stages)


def test_importing_the_catalogue_is_light() -> None:
    """Neither an engine, nor the graders' package with its weights."""
    code = (
        "import sys, safeft.guarding.catalogue; print(sorted(m for m in sys.modules if m.startswith"
        "(('torch', 'transformers', 'openai', 'vllm', 'safeft.judges', 'safeft.models'))))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = out.stdout.strip().replace("'safeft.models', ", "")
    assert "torch" not in found and "safeft.judges" not in found and "transformers" not in found


def test_the_embedded_guard_is_the_default() -> None:
    """A stage that names nobody is read by the guard that ships."""
    judge = load_guard_judge("output", Stage())
    assert judge.name.startswith("guard@") and judge.categories


def test_a_typo_gets_the_nearest_name() -> None:
    """Or all of them; a grader's name is none of a guard's."""
    with pytest.raises(ConfigError, match="did you mean 'encoder-guard'"):
        load_guard_judge("output", Stage(judge="encoder-gaurd"))
    with pytest.raises(ConfigError, match="did you mean 'llama-guard-3'"):
        load_guard_judge("output", Stage(judge="llama-guard3"))
    with pytest.raises(ConfigError, match="known: encoder-guard, examples, gpt-oss-safeguard"):
        load_guard_judge("output", Stage(judge="zzz"))
    shipped = {"granite-guardian", "qwen3guard", "shieldgemma", "wildguard", "llama-guard-4"}
    assert shipped <= {*guard_judge_names()}


def test_any_prompted_model_is_a_judge_by_its_path(written: Callable[..., str]) -> None:
    """It is asked nothing and loaded from nowhere until somebody asks it."""
    judge = load_guard_judge("input", Stage(judge=written()))
    assert judge.name.startswith("mine@") and judge.categories == ("unsafe",)
    prose = judge([Response(Prompt.of("How do I bake bread?", "a"), "Take flour.")])
    assert [(one.prompt_id, one.unsafe) for one in prose] == [("a", None)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "promptd"}, "kind: 'promptd' is not valid; did you mean 'prompted'"),
        ({"kind": "classifier"}, "template: unknown key"),
        ({"modle": "x"}, "modle: unknown key; did you mean 'model'"),
        ({"engine": "vlm"}, "did you mean 'vllm'"),
        ({"vllm": {"max_model_len": 512}}, "vllm: its arguments need `engine: vllm`"),
        ({"criteria": {"Bad Name": {}}}, "should match pattern"),
    ],
)
def test_a_mistake_in_a_yaml_names_the_key(
    written: Callable[..., str], values: dict[str, Any], words: str
) -> None:
    """And the file."""
    with pytest.raises(ConfigError, match=words) as caught:
        load_guard_judge("output", Stage(judge=written(**values)))
    assert "mine.yaml: " in str(caught.value)


# The message of an environment without vLLM.
@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_an_engine_that_is_not_installed_is_told_at_load(written: Callable[..., str]) -> None:
    """Before a server starts."""
    with pytest.raises(ConfigError, match=r"pip install 'safeft\[vllm\]'"):
        load_guard_judge("output", Stage(judge=written(engine="vllm")))


def test_an_entry_point_is_a_judge_if_it_can_guard(install: Any) -> None:
    """Graders share the group, and lack what a guard needs."""
    install(blunt=f"{__name__}:Blunt", grader=f"{__name__}:Grader", gone="no_such:Judge")
    assert load_guard_judge("input", Stage(judge="blunt")).categories == ("harm",)
    with pytest.raises(ConfigError, match="has no categories and no requests"):
        load_guard_judge("output", Stage(judge="grader"))
    with pytest.raises(ConfigError, match=r"guard judge 'gone' \(no_such:Judge\): "):
        load_guard_judge("output", Stage(judge="gone"))


def test_an_installed_judge_cannot_replace_a_shipped_one(install: Any) -> None:
    """`examples` means the same on every machine."""
    install(examples=f"{__name__}:Blunt")
    judge = load_guard_judge("output", Stage(judge="examples", examples=EXAMPLES))
    assert isinstance(judge, ExamplesGuard)


def test_a_stage_escalates_to_any_of_them(install: Any) -> None:
    """By name, in the same way."""
    install(blunt=f"{__name__}:Blunt")
    stage = Stage.model_validate({"escalate": {"judge": "blunt"}})
    assert load_second(stage).name == "blunt"
    with pytest.raises(ConfigError, match="names no judge to escalate to"):
        load_second(Stage())
    with pytest.raises(ConfigError, match="did you mean 'blunt'"):
        load_second(Stage.model_validate({"escalate": {"judge": "blnt"}}))
    with pytest.raises(ConfigError, match="needs a sentence for each category"):
        load_second(Stage.model_validate({"escalate": {"judge": "examples"}}))


def test_a_judge_of_several_stages_is_loaded_once(
    install: Any, written: Callable[..., str]
) -> None:
    """Its weights are gigabytes. Examples are shared where they are the same."""
    install(blunt=f"{__name__}:Blunt")
    own = written()
    first, second = load_guard_judges(
        policy(
            input={"judge": own},
            output={"judge": own, "escalate": {"judge": "blunt"}},
            reasoning={"judge": "examples", "examples": EXAMPLES},
            tool_calls={"judge": "examples", "examples": {"other": ["Sell it."]}},
        )
    )
    assert first["input"] is first["output"]
    assert first["reasoning"].categories != first["tool_calls"].categories
    assert {name: one.name for name, one in second.items()} == {"output": "blunt"}


def test_a_category_that_nobody_scores_is_refused(
    install: Any, written: Callable[..., str]
) -> None:
    """A threshold on it would never strike; the second judge's categories count as well."""
    install(blunt=f"{__name__}:Blunt")
    stage: dict[str, Any] = {"judge": written(), "categories": {"harm": {"threshold": 0.2}}}
    with pytest.raises(ConfigError, match=r"output\.categories: .+ has no 'harm'; known: unsafe"):
        load_guard_judges(policy(output=stage))
    load_guard_judges(policy(output=stage | {"escalate": {"judge": "blunt"}}))


def test_a_stage_is_not_given_a_judge_that_does_not_read_it(written: Callable[..., str]) -> None:
    """For every stage of a policy, before any text comes."""
    stage = {"judge": written(request=None)}
    load_guard_judges(policy(output=stage, reasoning=stage, tool_calls=stage))
    with pytest.raises(ConfigError, match=r"input\.judge: .+ reads answers only"):
        load_guard_judges(policy(input=stage))


def test_the_yaml_of_the_guide_is_valid() -> None:
    """What can be copied works: judges, and parts of stages and policies."""
    guide = (Path(__file__).parents[2] / "docs/guard-judges.md").read_text()
    blocks = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", guide, re.S)]
    judges = [one for one in blocks if "name" in one]
    assert {one["kind"] for one in judges} == {"prompted", "classifier"}
    for one in judges:
        model = PromptedFile if one["kind"] == "prompted" else ClassifierFile
        assert model.model_validate(one).name == one["name"]
    for one in blocks:
        if "examples" in one:
            assert Stage.model_validate({"judge": "examples", **one}).examples
        if "output" in one:
            assert policy(**one).stages["output"].escalate


def test_the_guide_names_every_shipped_judge_and_its_revision() -> None:
    """The table is the one place where they stand beside each other."""
    guide = (Path(__file__).parents[2] / "docs/guard-judges.md").read_text()
    for path in folder("guardrails/judges").glob("*.yaml"):
        revision = yaml.safe_load(path.read_text())["model"].partition("@")[2]
        assert f"| `{path.stem}` (" in guide and f"`{revision[:12]}`" in guide
