"""Laws of a ride: its logits are those of reading by force, and nothing of it is left."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guarding.probing import probing
from guarding.tiny import ASKED, NEW
from safeft.errors import ConfigError
from safeft.guarding.probe import decoder_layers
from safeft.guarding.probe_ride import Ride, forced, heard, riding, token_logits


def by_force(model: Any, probe: Any, batch: Any, out: Any) -> list[list[float]]:
    """The logits of the tokens that were generated, each row read alone and from its beginning."""
    start = batch["input_ids"].shape[1]
    texts = [
        (ids[mask.bool()].tolist(), row[start:].tolist())
        for ids, mask, row in zip(batch["input_ids"], batch["attention_mask"], out, strict=True)
    ]
    return [token_logits(model, probe, [one])[0] for one in texts]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("options", [NEW, NEW | {"do_sample": True, "temperature": 2.0}])
def test_a_ride_reads_what_reading_by_force_reads(
    model: Any, batch: Any, layer: int, options: dict[str, Any]
) -> None:
    """To 1e-4, for every token but the last one, in a batch that is padded on the left."""
    probe = probing(layer=layer)
    torch.manual_seed(0)
    with riding(model, probe) as ride:
        out = model.generate(**batch, **options, eos_token_id=None)
    start = batch["input_ids"].shape[1]
    ids_NT, logits_NT = ride.taken()
    assert ids_NT.tolist() == out[:, start:-1].tolist() and ids_NT.shape == (3, 11)
    wanted = np.array(by_force(model, probe, batch, out))[:, :-1]
    assert wanted.std() > 0.1
    np.testing.assert_allclose(logits_NT, wanted, atol=1e-4)
    smooth = [probe.smoothed(row).max() for row in wanted]
    assert ride.worst() == pytest.approx(smooth, abs=1e-4)


def test_what_follows_the_end_of_a_row_does_not_count(model: Any, batch: Any) -> None:
    """The tokens that pad it are the model's business."""
    probe = probing()
    free = model.generate(**batch, **NEW, eos_token_id=None)
    end = int(free[0, batch["input_ids"].shape[1] + 3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.generation_config, "eos_token_id", [end, 299])
        with riding(model, probe) as ride:
            model.generate(**batch, **NEW)
    wanted = by_force(model, probe, batch, free)
    first = free[0, batch["input_ids"].shape[1] :].tolist().index(end)
    assert len(ride.logits()[0]) == first
    np.testing.assert_allclose(ride.logits()[0], wanted[0][:first], atol=1e-4)


def test_adapters_are_read_through(batch: Any, tiny_model: Path, tiny_adapter: Path) -> None:
    """The states are the adapted model's, on a ride and by force."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    probe = probing()
    made = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tiny_adapter)
    with riding(made, probe) as ride:
        out = made.generate(**batch, **NEW, eos_token_id=None)
    wanted = np.array(by_force(made, probe, batch, out))[:, :-1]
    np.testing.assert_allclose(ride.taken()[1], wanted, atol=1e-4)
    with made.disable_adapter():
        plain = np.array(by_force(made, probe, batch, out))[:, :-1]
    assert np.abs(plain - wanted).max() > 0.1


def test_a_ride_leaves_nothing_behind(model: Any, batch: Any) -> None:
    """No hook, also after a failure, and the same answer as without."""
    watched = [model.get_input_embeddings(), *decoder_layers(model)]
    plain = model.generate(**batch, **NEW)
    with riding(model, probing()) as ride:
        assert torch.equal(model.generate(**batch, **NEW), plain)
    with pytest.raises(KeyError), riding(model, probing()):
        raise KeyError
    assert not any(one._forward_hooks for one in watched)
    count = ride.taken()[0].shape
    model.generate(**batch, **NEW)
    assert ride.taken()[0].shape == count


def test_a_probe_that_does_not_fit_gets_on_no_ride(model: Any) -> None:
    """Before anything is hooked."""
    with pytest.raises(ConfigError, match="reads layer 7"), riding(model, probing(layer=7)):
        raise AssertionError
    assert not model.get_input_embeddings()._forward_hooks


def test_it_is_read_while_the_model_writes(model: Any, batch: Any) -> None:
    """What was decoded by then, from another thread; passes of that thread do not count."""
    probe, seen = probing(), []

    def look(ids: Any, scores: Any, **_: Any) -> Any:
        def read() -> None:
            model(input_ids=ids[:, :2])
            seen.append([ride.taken()[0].copy(), ride.worst()])

        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        return torch.zeros(len(ids), dtype=torch.bool)

    with riding(model, probe) as ride:
        out = model.generate(**batch, **NEW, eos_token_id=None, stopping_criteria=[look])
    assert not ride.broken
    start = batch["input_ids"].shape[1]
    for place, (ids, worst) in enumerate(seen):
        assert ids.shape[1] == place  # the token of this step was not read by the model yet
        assert (
            ids.tolist() == (out[:, start : start + place].tolist() if place else []) or not place
        )
        assert np.isnan(worst).all() if place == 0 else np.isfinite(worst).all()
    assert all((np.array(a[1]) <= np.array(b[1])).all() for a, b in pairwise(seen[1:]))


@pytest.mark.parametrize(
    "options",
    [
        {"use_cache": False},
        {"prompt_lookup_num_tokens": 3},
        {"num_beams": 2, "num_return_sequences": 2},
    ],
    ids=["no cache", "drafts", "beams"],
)
def test_what_it_cannot_follow_is_not_taken_for_scored(
    model: Any, tiny_tokenizer: Any, options: dict[str, Any]
) -> None:
    """Where a pass is not of one token a row; beams are the caller's to leave out."""
    one = tiny_tokenizer(ASKED[0], return_tensors="pt")
    with riding(model, probing()) as ride:
        model.generate(**one, **NEW, **options)
    if "num_beams" in options:
        assert ride.rows == 2
    else:
        assert ride.broken and np.isnan(ride.worst()).all()


def test_rows_that_leave_break_it() -> None:
    """A state would be taken for another row's; what was read before stays."""
    ride = Ride(probing(), set())

    def step(rows: int, tokens: int) -> None:
        ride.embedded((torch.ones(rows, tokens, dtype=torch.long),), None)
        ride.computed((), torch.zeros(rows, tokens, 64))

    for rows, tokens in ((3, 5), (3, 1), (2, 1), (3, 1)):
        step(rows, tokens)
    assert ride.broken and ride.taken()[0].shape == (3, 1)
    assert np.isnan(ride.worst()).all()


def test_only_this_threads_passes_are_heard() -> None:
    """What goes in and what comes out."""
    layer, told = torch.nn.Linear(2, 2), []
    with heard(layer, lambda given, out: told.append((given, out))):
        thread = threading.Thread(target=lambda: layer(torch.zeros(1, 2)))
        thread.start()
        thread.join()
        out = layer(torch.ones(1, 2))
    layer(torch.ones(1, 2))
    assert len(told) == 1 and told[0][1] is out
    assert torch.equal(told[0][0][0], torch.ones(1, 2))


def test_states_are_read_at_several_layers_in_any_batch(model: Any, tiny_tokenizer: Any) -> None:
    """Each text's own tokens, whatever lies beside it in the batch."""
    texts = [
        (
            tiny_tokenizer("the " * place)["input_ids"],
            tiny_tokenizer("a plant " * (20 - place))["input_ids"],
        )
        for place in range(1, 20)
    ]
    together = forced(model, [0, 1], texts, lambda one: one.clone())
    for (asked, said), found in zip(texts, together, strict=True):
        ids = torch.tensor([[*asked, *said]])
        with torch.inference_mode():
            states = model(ids, output_hidden_states=True).hidden_states
        torch.testing.assert_close(found[0], states[1][0, len(asked) :], atol=1e-4, rtol=1e-4)
        assert found[1].shape == (len(said), 64)
    assert forced(model, [0], [], lambda one: one) == []
