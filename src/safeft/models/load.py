"""Names become models and tokenizers, the same way for the testbed, a folder and the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safeft.errors import ModelError, first_line
from safeft.models.bundle import saying
from safeft.models.names import Source, resolve
from safeft.models.quantized import quantization_config
from safeft.models.whole import begun, is_whole

_PROBE = "probe"


def default_precision() -> str:
    """bfloat16 on an accelerator; float32 on a CPU, where few have fast bfloat16 arithmetic."""
    import torch

    return "bfloat16" if torch.cuda.is_available() else "float32"


def load_tokenizer(
    name: str,
    *,
    chat: bool = True,
    chat_template: str | None = None,
    adapters: Sequence[str | Path] = (),
    trust_remote_code: bool = False,
) -> Any:
    """The tokenizer of a model; it must have a token to pad with and, to `chat`, a template.

    `chat_template` is a Jinja file that stands in for its own; what `adapters` ask to be said in
    every conversation is said by it.
    Raises ModelError when it cannot be loaded, has no token to pad with, or no chat template that
    passes text on.
    """
    from transformers import AutoTokenizer

    source = resolve(name)
    tokenizer = _loading(
        source,
        AutoTokenizer.from_pretrained,
        source.location,
        revision=source.revision,
        trust_remote_code=trust_remote_code,
    )
    if chat_template is not None:
        tokenizer.chat_template = _template(chat_template)
    if chat:
        _check_template(name, tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ModelError(
            f"model {name!r}: its tokenizer names neither pad_token nor eos_token; "
            "set them in its tokenizer_config.json"
        )
    return saying(tokenizer, adapters)


def _check_template(name: str, tokenizer: Any) -> None:
    if tokenizer.chat_template is None:
        raise ModelError(
            f"model {name!r} has no chat template, so its prompts would be guesswork; "
            "use the instruction-tuned model, or save a template into its tokenizer"
        )
    if not _passes_text(tokenizer):
        raise ModelError(
            f"model {name!r}: its chat template leaves plain text out, as it takes messages in "
            "parts; ask it where it is served (vllm serve), or give it a template that reads text"
        )


def _passes_text(tokenizer: Any) -> bool:
    """Whether a turn's text arrives: a template that asks a string for its parts finds none."""
    try:
        shown: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": _PROBE}], tokenize=False
        )
    # A template is code and may raise anything; one that refuses a lone turn says so at a prompt.
    except Exception:
        return True
    return _PROBE in shown.lower()


def _template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"chat_template: {path}: cannot be read ({first_line(error)})") from error


def load_model(
    name: str,
    *,
    adapters: Sequence[str | Path] = (),
    merge: bool = True,
    precision: str | None = None,
    quantization: str | None = None,
    trust_remote_code: bool = False,
    **options: Any,
) -> Any:
    """A causal language model in evaluation mode, with adapters merged in order, or beside it.

    It lies on the accelerator when there is one. `quantization` is int8, nf4 or fp4. `options` go
    to `from_pretrained` untouched; a `device_map` among them says where it lies instead.
    Raises ModelError when the weights or an adapter cannot be loaded or are incomplete.
    """
    import torch
    from transformers import AutoModelForCausalLM

    name, adapters = begun(name, adapters, trust_remote_code=trust_remote_code)
    source, dtype = resolve(name), precision or default_precision()
    if quantization:
        options = {"quantization_config": quantization_config(quantization, dtype)} | options
    if torch.cuda.is_available():
        options = {"device_map": "cuda"} | options
    model, found = _loading(
        source,
        AutoModelForCausalLM.from_pretrained,
        source.location,
        revision=source.revision,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        trust_remote_code=trust_remote_code,
        **options,
    )
    _refuse_gaps(name, sorted(found["missing_keys"]))
    return _adapted(model, adapters, merge).eval()


def _adapted(model: Any, adapters: Sequence[str | Path], merge: bool) -> Any:
    for adapter in adapters:
        model = with_adapter(model, adapter, merge=merge)
    return model


def _refuse_gaps(name: str, missing: Sequence[str]) -> None:
    if missing:
        raise ModelError(
            f"model {name!r} lacks {len(missing)} of its weights, such as {missing[0]}, and would "
            "run with random ones; download it again, or mend its config.json"
        )


def load_skeleton(name: str, *, trust_remote_code: bool = False) -> Any:
    """The model's modules without weights, for questions about its shape.

    Raises ModelError when its configuration cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    source = resolve(name)
    config = load_config(name, trust_remote_code=trust_remote_code)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        # Code of the pinned revision, like the weights: alone, `from_config` would take the newest.
        options["code_revision"] = source.revision
    with torch.device("meta"):
        return _loading(source, AutoModelForCausalLM.from_config, config, **options)


def load_config(name: str, *, trust_remote_code: bool = False) -> Any:
    """The model's configuration; ModelError when it cannot be loaded."""
    from transformers import AutoConfig

    source = resolve(name)
    return _loading(
        source,
        AutoConfig.from_pretrained,
        source.location,
        revision=source.revision,
        trust_remote_code=trust_remote_code,
    )


def check_tuned(adapter: Path) -> None:
    """Raises ModelError unless the folder holds an adapter, or a full fine-tune in its place."""
    if not is_whole(adapter):
        check_adapter(adapter)


def check_adapter(adapter: Path) -> None:
    """Raises ModelError unless the folder holds an adapter with its weights."""
    if is_whole(adapter):
        raise ModelError(
            f"adapter {adapter} is a full fine-tune: a whole model, with no adapter in its folder"
        )
    if not (adapter / "adapter_config.json").is_file():
        raise ModelError(f"adapter {adapter}: no adapter_config.json in this folder")
    if not (adapter / "adapter_model.safetensors").is_file():
        # PEFT would unpickle an adapter_model.bin, and a pickle can run any code.
        raise ModelError(
            f"adapter {adapter}: no adapter_model.safetensors in this folder; {_converted(adapter)}"
        )


def _converted(adapter: Path) -> str:
    """How weights in another format become safetensors."""
    pickled = adapter / "adapter_model.bin"
    if not pickled.is_file():
        return "save it as safetensors"
    return (
        "adapter_model.bin is a pickle; convert it without running its code: "
        '`python -c "import torch, safetensors.torch as s; '
        f"s.save_file(torch.load('{pickled}', weights_only=True), "
        f"'{pickled.with_suffix('.safetensors')}', {{'format': 'pt'}})\"`"
    )


def with_adapter(model: Any, adapter: str | Path, *, merge: bool = True) -> Any:
    """The model with a PEFT adapter merged into its weights, or beside them.

    Raises ModelError when there is no adapter, or one of another architecture or size.
    """
    from peft import PeftModel

    if Path(adapter).is_dir():
        check_adapter(Path(adapter))
    try:
        wrapped = PeftModel.from_pretrained(model, str(adapter))
        # Only a second reading tells which weights had no place: PEFT drops those silently.
        read = wrapped.load_adapter(str(adapter), "default")
        stray = [*read.missing_keys, *read.unexpected_keys]
        made = wrapped.merge_and_unload() if merge and not stray else wrapped
    except Exception as error:  # of PEFT, PyTorch, safetensors or the Hub
        raise _unfit(adapter, first_line(error)) from error
    if stray:
        raise _unfit(adapter, f"{len(stray)} weights have no counterpart, such as {stray[0]}")
    return made


def _unfit(adapter: str | Path, reason: str) -> ModelError:
    return ModelError(
        f"adapter {adapter} does not fit the model: {reason} (give the model it was trained on)"
    )


def _loading(source: Source, load: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return load(*arguments, **options)
    except Exception as error:  # of transformers, tokenizers, safetensors, PyTorch or the Hub
        cure = "is the name right, does the folder hold safetensors weights, is there access to it?"
        if "trust_remote_code" in str(error):
            cure = "read that code, and allow it with --trust-remote-code"
        raise ModelError(
            f"model {source.name!r} could not be loaded: {first_line(error)} ({cure})"
        ) from error
