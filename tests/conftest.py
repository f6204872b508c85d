"""A tiny random Llama with its own tokenizer, and an adapter for it, shared by all tests."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from processes import end_server, join_server, start_server

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
KEPT = 20 * 2**20  # bytes by which a file may leave its process larger
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|pad|>"]


def _llama(seed: int = 0, **changes: Any) -> Any:
    """Two layers of 64; weights wide enough that the answers differ clearly."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    values = {
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.25,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 2,
        "tie_word_embeddings": False,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**(values | changes)))


def pytest_configure(config: pytest.Config) -> None:
    """Pytest's processes keep to a core each: a comparison that names no workers then starts none.

    Two times two workers on two cores would gain nothing and take the memory of four.
    """
    cores = sorted(os.sched_getaffinity(0))
    if process := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw"):
        os.sched_setaffinity(0, {cores[int(process) % len(cores)]})
        join_server()
    elif config.getoption("numprocesses", None):
        start_server()


@pytest.fixture(autouse=True, scope="module")
def _memory() -> Iterator[None]:
    """What a file's models took is given back to the system: two processes share 4 GB."""
    before = _held()
    yield
    end_server()
    if _held() < before + KEPT:
        return  # the collector walks through all of torch: a third of a second, in 250 files
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc's
        trim(0)


def _held() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.fixture(autouse=True, scope="session")
def _impatient() -> Iterator[None]:
    """The Hub's client asks a Hub out of reach six times, as it does, but does not wait between."""
    import huggingface_hub.utils._http as client

    with pytest.MonkeyPatch.context() as patch:
        quick = SimpleNamespace(**vars(time) | {"sleep": lambda _: None})
        patch.setattr(client, "time", quick)
        yield


@pytest.fixture(scope="session")
def tiny_llama() -> Callable[..., Any]:
    """Makes random models; keywords change the configuration, `seed` the weights."""
    return _llama


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """Byte-level BPE of 300 tokens with a ChatML template that marks what is trained."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = "user assistant system the and how does one grow water a plant in the garden with"
    core.train_from_iterator([words] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """The folder of a random float32 Llama, as a user would have it."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    _llama().save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The folder of a LoRA adapter that changes the tiny model's answers."""
    import torch
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("tiny") / "adapter"
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj", "down_proj"],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = get_peft_model(_llama(), config)
    model.peft_config["default"].base_model_name_or_path = str(tiny_model)
    model.save_pretrained(folder)
    return folder
