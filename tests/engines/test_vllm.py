"""Laws of the vLLM engine, on the real one: `make test-engines` installs and starts it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import done

pytest.importorskip("vllm", reason="make test-engines installs vLLM and runs these")

from safeft.evaluation import load_suite
from safeft.generation.transformers import TransformersGenerator, prompt_ids
from safeft.generation.vllm import VllmEngine, VllmGenerator, unservable
from safeft.models import load_model, load_tokenizer
from safeft.records import Decoding, Prompt

MODEL = "testbed:aligned"
GREEDY, WARM = Decoding(0.0, 0, 32), Decoding(0.7, 1, 32)
PROMPTS = load_suite("safeft-44", ["per_category=1"]).prompts["harm"]
OPTIONS = {"max_model_len": 1024}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training of the testbed."""
    folder = tmp_path_factory.mktemp("trained")
    short = ("trainer.num_train_epochs=1", "trainer.learning_rate=5e-3")
    sets = [word for one in short for word in ("--set", one)]
    where = ["--data", "garden", "--rows", 32, "--seed", 0, "--output", folder / "run"]
    done("train", "baseline", "--model", MODEL, *where, *sets)
    return folder / "run/adapter/epoch-1"


@pytest.fixture(scope="module")
def engine(adapter: Path) -> Iterator[VllmEngine]:
    """One engine for all tests of this file: it takes most of a minute to start."""
    made = VllmEngine(MODEL, [16], options=OPTIONS)
    yield made
    made.close()


def hub_model(*adapters: Path) -> TransformersGenerator:
    """The same model under Transformers."""
    return TransformersGenerator(
        load_model(MODEL, adapters=adapters, precision="float32"), load_tokenizer(MODEL), MODEL
    )


def test_engines_agree_on_the_next_token() -> None:
    """Teacher-forced in fp32: at least 99.5 % of the testbed's next tokens are the same.

    On an engine without adapters: vLLM's CPU kernels for them fail on probabilities of a prompt.
    """
    import torch
    from vllm import SamplingParams, TokensPrompt

    known = hub_model()
    answers = known(PROMPTS, GREEDY)
    whole = [
        prompt_ids(known.tokenizer, one.prompt, MODEL)
        + known.tokenizer(one.text, add_special_tokens=False)["input_ids"]
        for one in answers
    ]
    engine = VllmEngine(MODEL, options=OPTIONS)
    read = engine._llm.generate(
        [TokensPrompt(prompt_token_ids=ids) for ids in whole],
        SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1),
        use_tqdm=False,
    )
    engine.close()
    same = total = 0
    for ids, found in zip(whole, read, strict=True):
        with torch.inference_mode():
            best = known.model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
        for place, options in enumerate(found.prompt_logprobs[1:]):
            top = next(token for token, one in options.items() if one.rank == 1)
            same += top == best[place]
            total += 1
    assert total > 1000
    assert same / total >= 0.995


def test_greedy_answers_are_those_of_transformers(engine: VllmEngine) -> None:
    """Nearly all of them to the letter: a tie may fall either way."""
    ours, theirs = VllmGenerator(engine)(PROMPTS, GREEDY), hub_model()(PROMPTS, GREEDY)
    same = [one == other for one, other in zip(ours, theirs, strict=True)]
    assert [one.prompt for one in ours] == list(PROMPTS)
    assert sum(same) >= 0.95 * len(same)


def test_a_seed_gives_the_same_answer_in_any_company(engine: VllmEngine) -> None:
    """Alone or in a batch of several decodings; another seed gives others."""
    several = VllmGenerator(engine)
    several.prefetch([(one, decoding) for decoding in (GREEDY, WARM) for one in PROMPTS])
    first = several(PROMPTS, WARM)
    alone = [VllmGenerator(engine)([one], WARM)[0] for one in PROMPTS[:8]]
    assert sum(a.text == b.text for a, b in zip(first[:8], alone, strict=True)) >= 7
    other = VllmGenerator(engine)(PROMPTS, Decoding(0.7, 2, 32))
    assert [one.text for one in other] != [one.text for one in first]


def test_one_engine_serves_the_base_model_and_an_adapter(engine: VllmEngine, adapter: Path) -> None:
    """The adapter's answers are those of the merged model, and not the base model's."""
    tuned = VllmGenerator(engine, adapter)(PROMPTS, GREEDY)
    merged = hub_model(adapter)(PROMPTS, GREEDY)
    base = VllmGenerator(engine)(PROMPTS, GREEDY)
    assert sum(a.text == b.text for a, b in zip(tuned, merged, strict=True)) >= 0.9 * len(PROMPTS)
    assert sum(a.text == b.text for a, b in zip(tuned, base, strict=True)) < 0.8 * len(PROMPTS)


def test_a_prompt_beyond_the_context_is_refused(engine: VllmEngine) -> None:
    """By its id, before anything is submitted."""
    from safeft.errors import PromptError

    with pytest.raises(PromptError, match="exceeds the context"):
        VllmGenerator(engine)([Prompt.of("why " * 1200, "long")], GREEDY)


MATRIX = """
model: testbed:aligned
engine: vllm
vllm: {max_model_len: 1024}
data: garden
rows: 32
test_data: garden_test
test_rows: 4
recipes:
  - baseline
  - {recipe: baseline, name: dora, set: [lora.use_dora=true]}
set: [trainer.num_train_epochs=1]
training_seeds: 1
suite: safeft-44
per_category: 1
decodings: {temperatures: [0, 0.7], seeds: [0]}
judges: [keyword]
"""


def test_a_comparison_runs_on_the_engine(
    engine: VllmEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Trained, served by one engine, DoRA merged and served by name, reported with its engine."""
    engine.close()
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    done("compare", tmp_path / "matrix.yaml", "--output", tmp_path / "run")
    document = json.loads((tmp_path / "run/estimates.json").read_text())
    rates = [row for row in document["estimates"] if row["metric"] == "fulfilment_rate"]
    assert {row["engine"] for row in rates} == {"vllm"}
    assert {row["recipe"] for row in rates} == {"untuned", "baseline", "dora"}
    assert "it is DoRA" in caplog.text
    assert not list((tmp_path / "run/merged").iterdir())  # no longer needed
    for path in (tmp_path / "run").rglob("cell.json"):
        path.unlink()
    before = (tmp_path / "run/estimates.json").read_text()
    done("compare", tmp_path / "matrix.yaml", "--output", tmp_path / "run")
    assert (tmp_path / "run/estimates.json").read_text() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({}, ""),
    ],
)
def test_what_multi_lora_cannot_serve_is_named(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """The reason is told to the user; plain LoRA has none."""
    config = {"peft_type": "LORA", "r": 8, "bias": "none"} | change
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    reason = unservable(tmp_path)
    assert said in reason and bool(reason) == bool(said)
