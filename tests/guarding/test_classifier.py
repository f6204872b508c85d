"""Laws of classifiers as guards: labels, activations, pairs and windows, on tiny checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeft.errors import ConfigError, ModelError
from safeft.guarding.catalogue import load_guard_judge
from safeft.guarding.classifier import ClassifierGuard
from safeft.guarding.judge import GuardJudge
from safeft.guarding.policy import Stage, StageName
from safeft.guarding.schema import ClassifierFile
from safeft.records import Label, Message, Prompt, Response

WORDS = [f"w{number}" for number in range(60)]
LABELS = ("Toxic", "Severe Toxic", "fine")
Made = Callable[..., GuardJudge]
TEXT = Response(Prompt.of("w1 w2 w3", "a"), "w4 w5 w6 w7")


def saved(folder: Path, kind: str = "Bert", **config: Any) -> Path:
    """A tiny random classifier with a tokenizer of its kind, the same every time."""
    import torch
    import transformers

    if kind == "Bert":
        marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        vocab = {word: place for place, word in enumerate([*marks, *WORDS])}
        tokenizer: Any = transformers.BertTokenizer(vocab=vocab)
    else:
        marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        letters = [*"w0123456789", "Ġ"]
        vocab = {word: place for place, word in enumerate([*marks, *letters])}
        tokenizer = transformers.RobertaTokenizer(vocab=vocab, merges=[])
    values = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "initializer_range": 0.5,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: place for place, label in enumerate(LABELS)},
    }
    made = getattr(transformers, f"{kind}Config")(**(values | config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = getattr(transformers, f"{kind}ForSequenceClassification")(made)
    tokenizer.model_max_length = 32
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-label classifier."""
    folder = tmp_path_factory.mktemp("bert")
    return saved(folder, problem_type="multi_label_classification")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A judge of a checkpoint, loaded from a YAML as a user would write it."""

    def make(model: Path, stage: StageName = "output", **values: Any) -> GuardJudge:
        spec = {"name": "mine", "kind": "classifier", "model": str(model)}
        path = tmp_path / "mine.yaml"
        path.write_text(json.dumps(spec | values))
        return load_guard_judge(stage, Stage(judge=str(path)))

    return make


def logits(model: Path, *texts: str) -> Any:
    """By hand, of one input."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    found = transformers.AutoModelForSequenceClassification.from_pretrained(model).eval()
    return found(**tokenizer(*texts, return_tensors="pt")).logits[0].double().detach()


def test_every_label_is_a_category_with_its_own_probability(bert: Path, made: Made) -> None:
    """Named by the model, sigmoid where its config says that several may hold."""
    judge = made(bert)
    assert judge.categories == ("toxic", "severe_toxic", "fine")
    wanted = logits(bert, TEXT.text).sigmoid().tolist()
    assert list(judge([TEXT])[0].scores.values()) == pytest.approx(wanted, abs=1e-6)
    wanted = logits(bert, TEXT.prompt.asked).sigmoid().tolist()
    found = judge.requests([TEXT.prompt])[0]
    assert list(found.scores.values()) == pytest.approx(wanted, abs=1e-6)
    assert (found.prompt_id, found.judge) == ("a", judge.name)


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_a_pair_is_what_the_tokenizer_makes_of_both(kind: str, made: Made, tmp_path: Path) -> None:
    """One of several labels is a softmax; another architecture has another way to join a pair."""
    model = saved(tmp_path / kind, kind, problem_type="single_label_classification")
    judge = made(model, exchange="pair", labels={"Toxic": "toxic"})
    texts = [Response(Prompt.of("w1 w2"), "w3"), Response(Prompt.of("w3"), "w1")]
    for one, verdict in zip(texts, judge(texts), strict=True):
        wanted = logits(model, one.prompt.asked, one.text).softmax(-1)[0].item()
        assert verdict.scores == {"toxic": pytest.approx(wanted, abs=1e-6)}


def test_labels_of_one_name_give_it_the_larger_and_those_left_out_do_not_count(
    bert: Path, made: Made
) -> None:
    """`fine` is no harm, and a policy knows no difference between the other two."""
    judge = made(bert, labels={"Toxic": "insults", "Severe Toxic": "insults"})
    wanted = logits(bert, TEXT.text).sigmoid()[:2].max().item()
    found = judge([TEXT])[0]
    assert found.scores == {"insults": pytest.approx(wanted, abs=1e-6)}
    assert found.unsafe is (wanted >= 0.5)
    with pytest.raises(ConfigError, match=r"has no 'toxic'; did you mean 'Toxic'\?"):
        made(bert, labels={"toxic": "insults"})


def test_the_activation_is_the_configs_or_the_users(made: Made, tmp_path: Path) -> None:
    """As Transformers' own pipeline: one label alone is a sigmoid, a regression none of these."""
    one = saved(tmp_path / "one", id2label={0: "bad"}, label2id={"bad": 0}, problem_type=None)
    wanted = logits(one, TEXT.text).sigmoid().item()
    assert made(one)([TEXT])[0].scores == {"bad": pytest.approx(wanted, abs=1e-6)}
    plain = saved(tmp_path / "plain", problem_type=None)
    for own, wanted in ((None, "softmax"), ("sigmoid", "sigmoid")):
        values = logits(plain, TEXT.text)
        values = values.softmax(-1) if wanted == "softmax" else values.sigmoid()
        found = made(plain, activation=own)([TEXT])[0]
        assert list(found.scores.values()) == pytest.approx(values.tolist(), abs=1e-6)
    with pytest.raises(ConfigError, match="is a regression, whose numbers are no scores"):
        made(saved(tmp_path / "line", problem_type="regression"))


NUMBERS = st.lists(st.integers(0, 59), min_size=1, max_size=120)


@settings(deadline=None, max_examples=15)
@given(NUMBERS)
def test_a_long_text_scores_what_its_worst_window_scores(bert: Path, numbers: list[int]) -> None:
    """Windows of the model's 32 tokens that share eight, by hand; all of the text is read."""
    text = " ".join(WORDS[one] for one in numbers)
    spec = ClassifierFile(name="mine", kind="classifier", model=str(bert), overlap=8)
    found = ClassifierGuard(spec)([Response(Prompt.of("w0"), text)])[0]
    words, size, step = text.split(), 30, 22
    last = max(0, len(words) - size)
    starts = [one for one in range(0, len(words), step) if one == 0 or one < last + step]
    windows = [" ".join(words[start : start + size]) for start in starts]
    wanted = np.max([logits(bert, one).sigmoid().tolist() for one in windows], axis=0)
    assert list(found.scores.values()) == pytest.approx(wanted.tolist(), abs=1e-5)


def test_a_long_request_beside_a_long_answer_is_read_to_the_end(
    bert: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stretch of the one with each window of the other, none longer than the model reads."""
    import transformers

    seen: list[list[int]] = []
    real = transformers.BertForSequenceClassification.forward

    def noting(model: Any, **given: Any) -> Any:
        pairs = zip(given["input_ids"], given["attention_mask"], strict=True)
        seen.extend(row[mask.bool()].tolist() for row, mask in pairs)
        return real(model, **given)

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", noting)
    request, answer = " ".join(WORDS[:30]), " ".join(WORDS[30:])
    made(bert, exchange="pair")([Response(Prompt.of(request), answer)])
    assert max(map(len, seen)) <= 32
    pairs = {(one, other) for row in seen for one in row for other in row}
    first = {5 + place for place in range(30)}
    assert {(one, other) for one in first for other in range(35, 65)} <= pairs


def test_a_verdict_does_not_depend_on_its_company(bert: Path, made: Made) -> None:
    """Batches are padded; nobody reads the padding."""
    judge = made(bert)
    texts = [Response(Prompt.of("w0", str(n)), " ".join(WORDS[: n + 1])) for n in range(0, 60, 7)]
    together, alone = judge(texts), [judge([one])[0] for one in texts]
    assert [one.prompt_id for one in together] == [one.prompt.id for one in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
    assert judge([]) == [] == judge.requests([])
    assert judge([Response(Prompt.of(""), "")])[0].unsafe is not None


def test_the_last_turn_of_a_conversation_is_read(bert: Path, made: Made) -> None:
    """A classifier of texts knows no turns."""
    judge = made(bert)
    talk = Prompt(
        "a", (Message("user", "w9 w9"), Message("assistant", "w8"), Message("user", "w1"))
    )
    assert judge.requests([talk])[0].scores == judge.requests([Prompt.of("w1")])[0].scores


def test_a_classifier_reads_what_its_yaml_says(bert: Path, made: Made) -> None:
    """A stage that it does not read is refused when it is loaded."""
    with pytest.raises(ConfigError, match=r"input\.judge: .+ reads answers only"):
        made(bert, "input", request=False)
    with pytest.raises(ConfigError, match=r"output\.judge: .+ reads requests only"):
        made(bert, exchange=None)
    with pytest.raises(ConfigError, match="reads requests only"):
        made(bert, "input", exchange=None)([TEXT])
    with pytest.raises(ConfigError, match="reads answers only"):
        made(bert, request=False).requests([TEXT.prompt])
    with pytest.raises(ConfigError, match="leave nothing to read"):
        made(bert, exchange=None, request=False)
    with pytest.raises(ConfigError, match="at most a quarter of window"):
        made(bert, window=64, overlap=32)


def test_no_number_is_unread(made: Made, tmp_path: Path) -> None:
    """NaN is never above a threshold, and must not let a text go."""
    from safetensors.torch import load_file, save_file

    model = saved(tmp_path / "nan")
    weights = load_file(model / "model.safetensors")
    weights["classifier.bias"][:] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    assert made(model)([TEXT])[0].label is Label.UNREAD


def test_random_heads_and_pickles_are_refused(made: Made, tmp_path: Path) -> None:
    """A model that was not trained to classify would score at random; a pickle runs code."""
    import torch
    from safetensors.torch import load_file, save_file

    bare = saved(tmp_path / "bare")
    weights = load_file(bare / "model.safetensors")
    kept = {name: one for name, one in weights.items() if not name.startswith("classifier")}
    save_file(kept, bare / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 2 of its weights, such as classifier\.bias"):
        made(bare)([TEXT])
    (bare / "model.safetensors").unlink()
    torch.save(weights, bare / "pytorch_model.bin")
    with pytest.raises(ModelError, match="could not be loaded"):
        made(bare)([TEXT])


def test_the_name_changes_with_whatever_decides_a_score(
    bert: Path, made: Made, tmp_path: Path
) -> None:
    """Weights, labels, activation and windows."""
    names = [
        made(bert).name,
        made(bert, labels={"Toxic": "toxic"}).name,
        made(bert, activation="softmax").name,
        made(bert, overlap=16).name,
        made(saved(tmp_path / "other")).name,
    ]
    assert len({*names}) == len(names) and all(one.startswith("mine@") for one in names)
