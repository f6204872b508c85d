"""Chat models in small: each family's architecture and the rules of its chat template.

The templates are ours: they have upstream's structure (control tokens, roles, what they refuse,
where an answer begins and ends) and none of its text. None marks what is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
LLAMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim }}"
    "{{ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# No header before an answer, and no system turn.
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('only user and assistant, in turn') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
# A system turn of its own where there is none.
QWEN2 = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe of help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The last answer has room for thoughts, those before it have none.
QWEN3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The assistant has another name; a system turn is refused (2) or put before the request (3).
_TURNS = (
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ before }}{{ m['content'] | trim + '<end_of_turn>\n' }}"
)
_OPENING = "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
GEMMA2 = (
    "{{ bos_token }}{% set before = '' %}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}" + _TURNS + "{% endfor %}" + _OPENING
)
GEMMA3 = (
    "{{ bos_token }}{% set system = messages[0]['role'] == 'system' %}"
    "{% for m in (messages[1:] if system else messages) %}"
    "{% set before = messages[0]['content'] + '\n\n' if system and loop.first else '' %}"
    + _TURNS
    + "{% endfor %}"
    + _OPENING
)
# A whole conversation ends with a second stop token, one that goes on does not.
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}"
)


@dataclass(frozen=True)
class Architecture:
    """One family: its classes, its template, and the tokens that begin a text and end a turn.

    `before` is what the template writes between an answer's prompt and the last answer; `after`
    what it has trained behind the last answer's stop token.
    """

    kind: str
    template: str
    tokens: tuple[str, ...]
    begin: str | None
    end: str
    stop: str
    system: bool = True
    before: str = ""
    earlier: str = ""
    after: str = ""
    more: dict[str, Any] = field(default_factory=dict)


HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
TURNS = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
PHI = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
THOUGHTS = "<think>\n\n</think>\n\n"
ARCHITECTURES = {
    "llama-3": Architecture("Llama", LLAMA, HEADERS, HEADERS[0], HEADERS[3], HEADERS[3]),
    "mistral": Architecture(
        *("Mistral", MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), "<s>", "</s>", "</s>"),
        system=False,
        before=" ",
        earlier=" ",
        more={"sliding_window": 16},
    ),
    "qwen-2": Architecture("Qwen2", QWEN2, CHATML, None, CHATML[2], CHATML[2]),
    "qwen-3": Architecture("Qwen3", QWEN3, CHATML, None, CHATML[2], CHATML[2], before=THOUGHTS),
    "gemma-2": Architecture(
        "Gemma2", GEMMA2, TURNS, "<bos>", "<eos>", "<end_of_turn>", system=False
    ),
    "gemma-3": Architecture("Gemma3Text", GEMMA3, TURNS, "<bos>", "<eos>", "<end_of_turn>"),
    "phi-3": Architecture("Phi3", PHI3, PHI, None, PHI[0], "<|end|>", after="\n<|endoftext|>"),
}


def save(one: Architecture, folder: Path, seed: int = 0) -> Path:
    """A random checkpoint of a family with its tokenizer, as a folder."""
    import torch
    import transformers

    tokenizer = tokenizer_of(one)
    ids: Callable[[str], int] = tokenizer.convert_tokens_to_ids
    config = getattr(transformers, f"{one.kind}Config")(
        **SIZES,
        **one.more,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ids(one.end),
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = sorted({ids(one.end), ids(one.stop)})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_adapter(model: Path, folder: Path) -> Path:
    """A random adapter of a checkpoint, on some of its linear layers, of an odd rank."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model)
    targets = ["o_proj", "down_proj"]  # these are everywhere, fused or not
    config = LoraConfig(r=3, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        get_peft_model(loaded, config).save_pretrained(folder)
    return folder


def tokenizer_of(one: Architecture) -> Any:
    """Bytes and the family's control tokens; a text begins with the family's first token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<pad>", *one.tokens, *alphabet]
    core = Tokenizer(models.BPE(vocab={name: n for n, name in enumerate(names)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<pad>", *one.tokens])
    if one.begin:
        pair = (one.begin, names.index(one.begin))
        core.post_processor = processors.TemplateProcessing(f"{one.begin} $A", None, [pair])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=one.begin,
        eos_token=one.end,
        pad_token="<pad>",
        additional_special_tokens=[name for name in one.tokens if name not in (one.begin, one.end)],
        chat_template=one.template,
    )
