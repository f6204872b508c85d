"""Laws of decoding: the tokens of `generate`, drawn by numbers of their own, without ended rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checkpoints
import pytest
import torch

from safeft.generation.decoding import LEAST, Draws, Pasts, extend
from safeft.generation.transformers import TransformersGenerator
from safeft.records import Decoding, Prompt

TOKENS = 48  # many rounds
STOPS = set(range(40, 60))  # many, so that rows end at different places
SIZES = checkpoints.SIZES | {
    "vocab_size": 300,
    "initializer_range": 0.25,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
MAMBA = {key: SIZES[key] for key in SIZES if "head" not in key and key != "intermediate_size"}
GREEDY = {"do_sample": False, "pad_token_id": 2}


def made(family: str) -> Any:
    """A random model: full attention, a window of 8 tokens, both, or states of some kind."""
    import transformers

    sizes = {
        "Llama": SIZES,
        "Mistral": SIZES | {"sliding_window": 8},
        "Gemma2": SIZES | {"sliding_window": 8, "query_pre_attn_scalar": 16},
        "RecurrentGemma": SIZES | {"attention_window_size": 8, "lru_width": 64},
        "Mamba": MAMBA | {"state_size": 8},
    }[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**sizes)
        return getattr(transformers, f"{family}ForCausalLM")(config).eval()


def padded(*lengths: int) -> dict[str, Any]:
    """Random prompts of these lengths, padded on the left."""
    draw, width = torch.Generator().manual_seed(1), max(lengths)
    ids = torch.randint(60, 300, (len(lengths), width), generator=draw)
    mask = torch.tensor([[0] * (width - one) + [1] * one for one in lengths])
    return {"input_ids": ids.where(mask.bool(), 2), "attention_mask": mask}


def cut(tokens: list[int]) -> list[int]:
    """Up to the first stop token, and with it."""
    end = next((place for place, one in enumerate(tokens) if one in STOPS), len(tokens))
    return tokens[: end + 1]


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Gemma2", "RecurrentGemma", "Mamba"])
def test_greedy_tokens_are_those_of_generate(family: str) -> None:
    """Row by row in one uninterrupted call, whatever the model remembers its past by."""
    model, batch = made(family), padded(9, 9, 9, 9, 9, 9, 9, 9)
    found = [cut(row) for row in extend(model, batch, STOPS, TOKENS, GREEDY)]
    with torch.inference_mode():
        whole = model.generate(**batch, max_new_tokens=TOKENS, **GREEDY)[:, 9:]
    assert found == [cut(row) for row in whole.tolist()]
    assert len({len(row) for row in found}) > 2


@pytest.mark.parametrize("family", ["Llama", "Mistral"])
def test_padding_changes_nothing(family: str) -> None:
    """A row among longer ones, with others leaving around it, is what it is alone."""
    model, lengths = made(family), (3, 5, 12, 12, 7, 4)
    batch = padded(*lengths)
    together = [cut(row) for row in extend(model, batch, STOPS, TOKENS, GREEDY)]
    for row, length in enumerate(lengths):
        alone = {key: value[row : row + 1, -length:] for key, value in batch.items()}
        [single] = extend(model, alone, STOPS, TOKENS, GREEDY)
        assert cut(single) == together[row]


def test_rows_that_have_ended_are_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call has those rows alone that have not met a stop token."""
    model, batch = made("Llama"), padded(*[6] * 12)
    asked, generate = [], model.generate

    def counted(**arguments: Any) -> Any:
        asked.append(len(arguments["input_ids"]))
        return generate(**arguments)

    monkeypatch.setattr(model, "generate", counted)
    found = [cut(row) for row in extend(model, batch, STOPS, TOKENS, GREEDY)]
    after = [sum(len(row) > step for row in found) for step in (0, LEAST)]
    assert asked[:2] == after
    assert asked[1] < asked[0] == 12


@pytest.mark.parametrize(
    ("family", "remembered"),
    [
        ("Llama", True),
        ("Mistral", False),
        ("Gemma2", False),
        ("RecurrentGemma", False),
        ("Mamba", False),
    ],
)
def test_a_remembered_past_changes_no_token(family: str, remembered: bool) -> None:
    """Asked once or again; what cannot go back by a token is read anew."""
    model, batch = made(family), padded(3, 5, 12, 12, 7, 4)
    alone = extend(model, batch, STOPS, TOKENS, GREEDY)
    for most in (2**27, 0):
        pasts = Pasts(model, GREEDY, most)
        for _ in range(3):
            past = pasts.of(batch)
            assert (past is not None) is remembered
            assert extend(model, batch, STOPS, TOKENS, GREEDY, past=past) == alone
        assert bool(pasts._kept) is (remembered and most > 0)


def test_the_oldest_past_goes_first() -> None:
    """When there is no room for all."""
    model, batches = made("Llama"), [padded(one, one) for one in (4, 5, 6)]
    pasts = Pasts(model, GREEDY)
    for one in (batches[1], batches[0]):
        pasts.of(one)
    token = sum(one.keys.nbytes for one in pasts.of(batches[1]).layers) // 2  # keys and values
    pasts._most = token * (4 + 5)
    pasts.of(batches[2])
    lengths = [one.get_seq_length() for one in pasts._kept.values()]
    assert lengths == [4, 5]


def test_scores_that_are_no_numbers_end_nobody() -> None:
    """A model that diverged says something, which the judge will call broken."""
    drawn = Draws(torch.tensor([[0.5]]).double(), 1.0, 1.0, begun=2)(
        torch.zeros(1, 2), torch.full((1, 10), torch.nan)
    )
    assert torch.isfinite(drawn).sum() == 1


def test_nothing_is_generated_for_nothing() -> None:
    """No room and no rows: no call, and a list for each row."""
    assert extend(None, padded(4, 4), STOPS, 0, GREEDY) == [[], []]


MakeGenerator = Callable[..., TransformersGenerator]


def test_a_seed_gives_the_same_answer_in_any_company(generator: MakeGenerator) -> None:
    """Alone, in small batches or in one: the draw belongs to the prompt and the seed."""
    words = ["how", "does", "one", "grow", "a", "plant", "in", "the", "garden"]
    prompts = [Prompt.of(" ".join(words[: n % 9 + 1]), f"p{n}") for n in range(12)]
    decoding = Decoding(0.8, 5, 40)
    whole = generator(12)(prompts, decoding)
    assert generator(5)(prompts, decoding) == whole
    assert [generator()([one], decoding)[0] for one in prompts] == whole


@pytest.mark.parametrize("top_p", [0.3, 0.8])
def test_top_p_draws_within_the_nucleus(top_p: float) -> None:
    """The most likely tokens whose shares reach top-p, by their own shares."""
    shares = torch.tensor([[0.5, 0.25, 0.15, 0.1]])
    numbers = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1, None]
    draws = Draws(numbers, 1.0, top_p, begun=0)
    drawn = draws(torch.zeros(1000, 0), shares.log().expand(1000, -1)).argmax(-1)
    nucleus = [0.5] if top_p == 0.3 else [0.5, 0.25, 0.15]
    found = torch.bincount(drawn, minlength=4)[: len(nucleus)] / 1000
    assert drawn.max() < len(nucleus)
    assert found.tolist() == pytest.approx([one / sum(nucleus) for one in nucleus], abs=2e-3)


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
def test_impossible_tokens_are_never_drawn(number: float) -> None:
    """At either end of the numbers, where the first and the last token have no share."""
    scores = torch.full((1, 5000), -torch.inf)
    scores[0, 7:4000] = 0.0
    numbers = torch.tensor([[number]], dtype=torch.float64)
    [drawn] = Draws(numbers, 0.5, 1.0, begun=3)(torch.zeros(1, 3), scores).argmax(-1).tolist()
    assert drawn == (7 if number == 0 else 3999)
