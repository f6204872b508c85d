"""Laws of the comparison YAML: shorthands, and combinations that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from safeft.assets import read_mapping
from safeft.comparison import load_matrix
from safeft.comparison.matrix import Decodings, recipes
from safeft.errors import ConfigError
from safeft.records import Decoding

DEMO = Path(__file__).parents[2] / "benchmarks/demo.yaml"
BASE = "model: m\ndata: garden\nrecipes: [baseline]\n"


@pytest.fixture
def problem(tmp_path: Path) -> Callable[[str], str]:
    """The message with which a YAML of these lines is refused."""

    def refuse(text: str) -> str:
        path = tmp_path / "matrix.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_matrix(str(path))
        return str(caught.value)

    return refuse


SHIPPED = [
    path
    for path in sorted(DEMO.parent.rglob("*.yaml"))
    if "recipes" in (one := read_mapping(path)) and "models" not in one
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_comparisons_load(path: Path) -> None:
    """With their recipes, whose overrides are applied."""
    assert len(SHIPPED) > 5
    matrix = load_matrix(str(path))
    assert set(recipes(matrix)) == set(matrix.recipe_names())


def test_a_shorthand_is_what_it_stands_for(tmp_path: Path) -> None:
    """A name is a variant, a count is a range of seeds, and a path is called after its file."""
    (tmp_path / "mine.yaml").write_text("name: x\nlora: {}\n")
    path = tmp_path / "matrix.yaml"
    path.write_text(
        f"model: m\ndata: d\nreference: mine\nrecipes: [{tmp_path}/mine.yaml]\ntraining_seeds: 3\n"
    )
    matrix = load_matrix(str(path))
    assert matrix.training_seeds == [0, 1, 2]
    assert matrix.recipe_names() == ["mine"]
    assert recipes(matrix)["mine"].name == "x"


def test_overrides_of_a_variant_come_after_those_of_all(tmp_path: Path) -> None:
    """What is said of one recipe wins over what is said of every recipe."""
    path = tmp_path / "matrix.yaml"
    own = "[{recipe: baseline, set: [lora.r=2]}, {recipe: baseline, name: b}]"
    path.write_text(f"model: m\ndata: d\nset: [lora.r=3]\nrecipes: {own}\n")
    found = recipes(load_matrix(str(path)))
    assert (found["baseline"].lora["r"], found["b"].lora["r"]) == (2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE + "recipe: x", "recipe: unknown key; did you mean 'recipes'?"),
        ("model: m\ndata: d\nrecipes: [baseline, baseline]", "'baseline' appears twice; give a"),
        ("model: m\ndata: d\nrecipes: [{recipe: baseline, name: untuned}]", "'untuned' appears t"),
        (BASE + "adapters: {baseline: [x]}", "the name 'baseline' appears twice"),
        (BASE + "adapters: {mine: []}", "adapters.mine: List should have at least 1 item"),
        (BASE + "reference: baselin", "no recipe 'baselin'; did you mean 'baseline'?"),
        ("model: m\nrecipes: []\nuntuned: false", "reference: no recipe 'baseline'"),
        ("model: m\nrecipes: [baseline]", "data: recipes need training data; name a set"),
        (BASE + "training_seeds: 2\ncurve_seeds: [2]", "each must be one of training_seeds"),
        (BASE + "training_seeds: [0, 0]", "training_seeds: 0 appears twice; keep one"),
        (BASE + "training_seeds: true", "training_seeds: Input should be a valid"),
        (BASE + "curve_seeds: [true]", "curve_seeds.0: Input should be a valid integer"),
        (BASE + "training_seeds: [-1]", "training_seeds.0: Input should be greater"),
        (BASE + "training_seeds: 0", "training_seeds: List should have at least 1 item"),
        (BASE + "judges: [keyword, keyword]", "'keyword' appears twice"),
        (BASE + "judges: []", "judges: List should have at least 1 item"),
        (BASE + "policies: [default, default]", "'default' appears twice"),
        (BASE + "decodings: {temperatures: [-0.5]}", "decodings.temperatures.0: "),
        (BASE + "decodings: {seeds: [1, 1]}", "1 appears twice"),
        (BASE + "level: 1.0", "level: Input should be less than 1"),
        (BASE + "workers: '2'", "workers: Input should be a valid integer, not '2'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    problem: Callable[[str], str], text: str, words: str
) -> None:
    """With the file, the key and what would be right."""
    said = problem(text)
    assert "matrix.yaml: " in said
    assert words in said


def test_a_missing_file_is_refused_with_an_example() -> None:
    """A comparison has no shipped names."""
    with pytest.raises(ConfigError, match=r"demo: no such file; .* safeft compare --recipes"):
        load_matrix("demo")


def test_greedy_is_drawn_once() -> None:
    """A decoding seed changes nothing at temperature 0."""
    decodings = Decodings(temperatures=[0.7, 0.0], seeds=[0, 1])
    greedy, sampled = Decoding(0.0, 0, 9), [Decoding(0.7, seed, 9) for seed in (0, 1)]
    assert decodings.all(9) == [greedy, *sampled]


LM_EVAL = "lm_eval: {tasks: [gsm8k], limit: 3}\n"


@pytest.mark.parametrize(
    "text",
    [
        "model: m\nengine: https://host/v1\nreference: untuned\n",
        f"{BASE}engine: vllm\n",
        f"{BASE}factors: {{engine: [transformers, vllm]}}\n",
        "model: m\nuntuned: false\nresponses: {theirs: [a.jsonl]}\nreference: theirs\n",
    ],
)
def test_lm_eval_needs_weights_in_this_process(
    problem: Callable[[str], str], text: str, tmp_path: Path
) -> None:
    """No endpoint, no other engine in any setting, and something to measure."""
    path = tmp_path / "other.yaml"
    path.write_text(text)
    assert load_matrix(str(path)).lm_eval is None
    assert "lm_eval: measures weights that lie in this process" in problem(text + LM_EVAL)


def test_lm_eval_is_a_part_of_what_a_run_is_only_where_it_is_used(tmp_path: Path) -> None:
    """A run from before goes on; arguments that safeft does not know are kept as they are."""
    path = tmp_path / "matrix.yaml"
    path.write_text(BASE)
    assert "lm_eval" not in load_matrix(str(path)).identity()
    path.write_text(BASE + LM_EVAL)
    matrix = load_matrix(str(path))
    assert matrix.identity()["lm_eval"] == {"tasks": ["gsm8k"], "limit": 3}
    assert matrix.under({"quantization": "nf4"}).lm_eval == matrix.lm_eval


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lm_eval: {limit: 3}\n", "lm_eval.tasks: missing; add it"),
        ("lm_eval: {tasks: []}\n", "lm_eval.tasks: "),
        ("lm_eval: {tasks: [a, a]}\n", "'a' appears twice; keep one"),
        ("margins: {rouge: 0.1}\n", "no utility metric 'rouge'; did you mean 'rouge_l'?"),
        ("margins: {lm_eval/a/acc: 0.1}\n", "name its task in lm_eval.tasks"),
    ],
)
def test_what_lm_eval_is_asked_is_stated_in_full(
    problem: Callable[[str], str], text: str, words: str
) -> None:
    """A task at least, each once, and no margin of what it is not asked."""
    assert words in problem(BASE + text)
