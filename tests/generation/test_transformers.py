"""Answers of a model: in order, reproducible, and drawn from the distribution that is claimed."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from safeft.errors import ModelError
from safeft.generation import Generator
from safeft.generation.transformers import TransformersGenerator
from safeft.records import Decoding, Message, Prompt

MakeGenerator = Callable[..., TransformersGenerator]

WORDS = ["how", "does", "one", "grow", "and", "water", "a", "plant", "in", "the", "garden"]
PROMPTS = [Prompt.of(" ".join(WORDS[: n % 11 + 1]), id=f"p{n}") for n in range(14)]
GREEDY = Decoding(0.0, 0, 16)


def texts(generator: Generator, prompts: list[Prompt], decoding: Decoding) -> list[str]:
    return [one.text for one in generator(prompts, decoding)]


def test_one_response_per_prompt_in_the_order_asked(generator: MakeGenerator) -> None:
    """Bucketing by length is invisible: turned round, the same prompts have the same answers."""
    forward = generator(4)(PROMPTS, GREEDY)
    backward = generator(4)(PROMPTS[::-1], GREEDY)
    assert [one.prompt for one in forward] == PROMPTS
    assert forward == backward[::-1]
    assert len({one.text for one in forward}) > 5


def test_nothing_asked_is_nothing_answered(generator: MakeGenerator) -> None:
    """An empty list of prompts is not an error."""
    assert generator()([], GREEDY) == []


def test_prompts_that_share_an_id_keep_their_own_answers(generator: MakeGenerator) -> None:
    """`Prompt.of` gives every prompt the id 0: answers belong to prompts, not to ids."""
    asked = [Prompt.of("water a plant"), Prompt.of("the garden"), Prompt.of("water a plant")]
    answers = generator()(asked, GREEDY)
    assert [one.prompt for one in answers] == asked
    assert answers[0] == answers[2]
    assert [one.text for one in answers] == [texts(generator(), [one], GREEDY)[0] for one in asked]


def test_greedy_depends_on_neither_batch_size_nor_seed(generator: MakeGenerator) -> None:
    """The most likely answer is one answer, however it is batched, padded or seeded."""
    reference = generator(1)(PROMPTS, GREEDY)
    for size, seed in ((3, 0), (48, 1), (5, 7)):
        assert generator(size)(PROMPTS, Decoding(0.0, seed, 16)) == reference


def test_greedy_is_the_most_likely_token_each_time(
    generator: MakeGenerator, loaded: tuple[Any, Any]
) -> None:
    """Token by token without padding and without a cache, argmax gives the same answer."""
    model, tokenizer = loaded
    answer = generator(14)(PROMPTS, GREEDY)[0]
    chat = [{"role": "user", "content": PROMPTS[0].text}]
    start = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    ids = list(start)
    with torch.inference_mode():
        for _ in range(answer.tokens):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    assert tokenizer.decode(ids[len(start) :]).strip() == answer.text


def test_sampling_is_reproducible_by_its_seed(generator: MakeGenerator) -> None:
    """The same seed draws the same answers, another seed others; the global seed is irrelevant."""
    first = texts(generator(4), PROMPTS, Decoding(0.7, 0, 16))
    torch.manual_seed(99)
    assert texts(generator(4), PROMPTS, Decoding(0.7, 0, 16)) == first
    other = texts(generator(4), PROMPTS, Decoding(0.7, 1, 16))
    assert sum(a != b for a, b in zip(first, other, strict=True)) > len(PROMPTS) / 2


def test_batches_depend_on_the_whole_list_only(generator: MakeGenerator) -> None:
    """In any order the same batches, of similar length; answered alone, each is as in the run."""
    decoding = Decoding(0.7, 3, 8)
    made = list(generator(4).batches(PROMPTS, decoding))
    assert list(generator(4).batches(PROMPTS[::-1], decoding)) == made
    assert sorted(one.id for batch in made for one in batch) == sorted(one.id for one in PROMPTS)
    assert [len(batch) for batch in made] == [4, 4, 4, 2]
    lengths = [len(generator()._ids(one)) for batch in made for one in batch]
    assert lengths == sorted(lengths)
    whole = {one.prompt.id: one for one in generator(4)(PROMPTS, decoding)}
    for one in generator(4).answer(made[2], decoding):
        assert whole[one.prompt.id] == one


def test_two_batches_never_share_their_random_numbers(generator: MakeGenerator) -> None:
    """The same text under other ids is drawn anew: batches are not copies of each other."""
    asked = [Prompt.of("water a plant", str(n)) for n in range(8)]
    answers = texts(generator(2), asked, Decoding(1.0, 0, 12))
    assert len(set(answers)) == len(asked)


def test_a_prompt_without_room_for_its_answer_is_refused_by_name(generator: MakeGenerator) -> None:
    """The context is checked before anything is generated, to the token."""
    long = Prompt.of("water " * 40, id="suite/harm/7")
    room = 256 - len(generator()._ids(long))
    assert room > 0
    next(iter(generator().batches([*PROMPTS, long], Decoding(0, 0, room))))
    with pytest.raises(ModelError, match=r"prompt 'suite/harm/7' has \d+ tokens; with") as caught:
        generator()([*PROMPTS, long], Decoding(0, 0, room + 1))
    assert "context of tiny (256); shorten it or lower max_new_tokens" in str(caught.value)


def test_every_turn_reaches_the_model(generator: MakeGenerator) -> None:
    """System and earlier turns change the answer: the whole conversation is rendered."""
    turn = Message("user", "water a plant")
    alone = Prompt("0", (turn,))
    led = Prompt("1", (Message("system", "the garden"), turn))
    one, other = texts(generator(), [alone, led], GREEDY)
    assert one != other


@pytest.fixture
def stopping(loaded: tuple[Any, Any], generator: MakeGenerator) -> tuple[Any, Any, str]:
    """A model that also stops at the fourth token of its first answer, and the text before it."""
    model, tokenizer = copy.deepcopy(loaded[0]), loaded[1]
    prompt = PROMPTS[0]
    start = generator()._ids(prompt)
    with torch.inference_mode():
        ids = model.generate(torch.tensor([start]), max_new_tokens=8, do_sample=False)[0].tolist()
    answer = ids[len(start) :]
    assert answer[3] not in answer[:3]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, answer[3]]
    return model, tokenizer, tokenizer.decode(answer[:3]).strip()


def test_finish_says_whether_the_answer_ended(stopping: tuple[Any, Any, str]) -> None:
    """`stop` at any declared stop token, which is not part of the answer; else `length`."""
    model, tokenizer, text = stopping
    made = TransformersGenerator(model, tokenizer, "tiny")
    [stopped] = made(PROMPTS[:1], GREEDY)
    assert (stopped.text, stopped.finish, stopped.tokens) == (text, "stop", 3)
    [last] = made(PROMPTS[:1], Decoding(0, 0, 4))
    assert (last.text, last.finish, last.tokens) == (text, "stop", 3)
    [cut] = made(PROMPTS[:1], Decoding(0, 0, 3))
    assert (cut.text, cut.finish, cut.tokens) == (text, "length", 3)


def test_a_short_answer_in_a_batch_is_not_padded_into_words(stopping: tuple[Any, Any, str]) -> None:
    """While others go on, the finished answer stays as it was alone."""
    model, tokenizer, text = stopping
    answers = TransformersGenerator(model, tokenizer, "tiny", 14)(PROMPTS, GREEDY)
    assert (answers[0].text, answers[0].finish) == (text, "stop")
    assert any(one.finish == "length" and one.tokens == 16 for one in answers)


DRAWS = [Prompt.of("how does one grow a plant", str(n)) for n in range(4000)]


def expected(loaded: tuple[Any, Any], temperature: float) -> dict[str, float]:
    """P(text) of one new token: softmax(logits / T), summed over tokens of the same text."""
    model, tokenizer = loaded
    ids = TransformersGenerator(model, tokenizer, "tiny")._ids(DRAWS[0])
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, -1].double()
    found: Counter[str] = Counter()
    for token, share in enumerate((logits / temperature).softmax(0).tolist()):
        found[tokenizer.decode([token], skip_special_tokens=True).strip()] += share
    return dict(found)


def p_value(drawn: Counter[str], shares: dict[str, float]) -> float:
    """Chi-square of the counts against the shares; texts expected fewer than 8 times together."""
    total = drawn.total()
    common = [text for text, share in shares.items() if share * total >= 8]
    observed = [drawn[text] for text in common]
    wanted = [shares[text] * total for text in common]
    rest = total - sum(wanted)
    return float(chisquare([*observed, total - sum(observed)], [*wanted, rest]).pvalue)


def test_draws_follow_the_tempered_softmax(generator: MakeGenerator, loaded: Any) -> None:
    """4,000 draws at T = 0.7 fit softmax(logits / 0.7) and no other temperature."""
    drawn = Counter(texts(generator(4000), DRAWS, Decoding(0.7, 0, 1)))
    assert p_value(drawn, expected(loaded, 0.7)) > 1e-3
    for other in (0.6, 0.8, 1.0):
        assert p_value(drawn, expected(loaded, other)) < 1e-3


def test_what_a_model_ships_does_not_bend_its_distribution(loaded: tuple[Any, Any]) -> None:
    """top-k, top-p, min-p and penalties of a generation config are off, sampled or greedy."""
    model, tokenizer = copy.deepcopy(loaded[0]), loaded[1]
    shipped = {
        "do_sample": True,
        "temperature": 0.2,
        "top_k": 3,
        "top_p": 0.5,
        "min_p": 0.2,
        "typical_p": 0.5,
        "repetition_penalty": 5.0,
        "no_repeat_ngram_size": 1,
        "num_beams": 2,
        "max_length": 300,
        "forced_eos_token_id": 1,
        "begin_suppress_tokens": list(range(100)),
        "exponential_decay_length_penalty": (1, 2.0),
        "cache_implementation": "dynamic",
    }
    for key, value in shipped.items():
        setattr(model.generation_config, key, value)
    bent = TransformersGenerator(model, tokenizer, "tiny", 4000)
    drawn = Counter(texts(bent, DRAWS, Decoding(0.7, 0, 1)))
    assert p_value(drawn, expected(loaded, 0.7)) > 1e-3
    plain = TransformersGenerator(*loaded, "tiny")
    assert bent(PROMPTS, GREEDY) == plain(PROMPTS, GREEDY)


def test_an_answer_that_was_begun_goes_on_from_there(generator: MakeGenerator) -> None:
    """The begun words are the model's own: they are said, and what follows depends on them."""
    plain, begun = Prompt.of("water a plant", "0"), Prompt("0", PROMPTS[4].messages, begun="In the")
    free = Prompt("1", PROMPTS[4].messages)
    answers = generator()([plain, begun, free], GREEDY)
    assert answers[1].text.startswith("In the")
    assert answers[1].text != f"In the{answers[2].text}"
