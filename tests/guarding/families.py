"""Guard models in small, beside those of `tests/families.py`: what each is asked and documents.

The prompts have upstream's structure (slots, turns, control tokens, arguments) and none of its
text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import yaml
from families import FAMILIES, Family

from safeft.assets import find
from safeft.guarding.schema import Kind, PromptedFile
from safeft.records import Label

GRANITE = ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>")
GEMMA = ("<bos>", "<start_of_turn>", "<end_of_turn>")
HARMONY = ("<|startoftext|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>")

# One criterion a question; whose turn is judged follows from who spoke last.
GRANITE_TEMPLATE = (
    "{%- set who = messages[-1].role -%}{{- '<|start_of_role|>system<|end_of_role|>Does the last '"
    " + who + ' meet ' + guardian_config['criteria_id'] + '?' -}}"
    "{{- (' Think.' if think else ' Say it.') + '<|end_of_text|>\n' -}}"
    "{%- for message in messages -%}{{- '<|start_of_role|>' + message.role + '<|end_of_role|>'"
    " + message.content + '<|end_of_text|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|start_of_role|>assistant<|end_of_role|>' -}}"
    "{%- endif -%}"
)
# A user's turn and perhaps an answer, then one guideline; nothing is added before the model speaks.
GEMMA_TEMPLATE = (
    "{{ bos_token }}Is a rule broken?\n\n{% for message in messages %}<start_of_turn>\n"
    "{{ 'Person: ' if message['role'] == 'user' else 'Machine: ' }}{{ message['content'] | trim }}"
    "\n<end_of_turn>\n{% endfor %}\nRule:\n\n* {{ guideline }}\n\nSay Yes or No.\n\n"
)
# The system turn becomes the developer's.
HARMONY_TEMPLATE = (
    "{{- '<|start|>system<|message|>Effort: ' + (reasoning_effort or 'medium') + '<|end|>' -}}"
    "{%- for message in messages -%}{{- '<|start|>' -}}"
    "{{- 'developer' if message.role == 'system' else message.role -}}"
    "{{- '<|message|>' + message.content + '<|end|>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|start|>assistant' -}}{%- endif -%}"
)
RULES = ("Dangerous Content", "Harassment", "Hate Speech", "Sexually Explicit Information")
GEMMA_CARD = """# A guard

```python
rule = "\\"No Harassment\\": The prompt shall not be rude."
```

| Of | Rule |
|---|---|
""" + "".join(
    f'| {kind} | `"No {rule}": The {kind} shall not hold {rule.lower()}.` |\n'
    for kind in ("prompt", "chatbot")
    for rule in RULES
)
BRIEF = "Say JSON about the text."  # in place of a policy, which costs a lesson 300 tokens
EXPLAINED = '{"violation": 1, "policy_category": "weapons"}'


def reasoned(said: str) -> str:
    """An answer behind its reasoning, as a harmony model writes it without a server in between."""
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    return f"{thought}<|channel|>final<|message|>{said}"


@dataclass(frozen=True)
class GuardFamily(Family):
    """A family as a guard uses it.

    `told` is what the documentation gives its chat template, for each kind of text and criterion;
    `answers` what it documents to say of a harmful, a harmless and an odd one; `names` the
    categories of the harmful one. `sizes` shrinks its architecture further.
    """

    told: Mapping[tuple[Kind, str], Mapping[str, Any]] = field(default_factory=dict)
    answers: Mapping[Kind, tuple[str, str, str]] = field(default_factory=dict)
    names: tuple[str, ...] = ("unsafe",)
    sizes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def criteria(self) -> list[str]:
        """What it is asked about one by one; one question without a name otherwise."""
        return list(dict.fromkeys(name for _, name in self.told)) or [""]

    def about(
        self,
        tokenizer: Any,
        spec: PromptedFile,
        kind: Kind,
        request: str,
        answer: str,
        name: str,
    ) -> list[int]:
        """The prompt as its documentation makes it, without any code of ours."""
        if self.form:
            return self.asks(tokenizer, request, answer if kind == "exchange" else "")
        turns = [{"role": "user", "content": request}]
        turns += [{"role": "assistant", "content": answer}] if kind == "exchange" else []
        form = spec.ways()[kind][0]
        if form.system:  # the policy, and a form for the user's turn
            filled = str(form.text).replace("{question}", request).replace("{answer}", answer)
            policy = {"role": "system", "content": form.system}
            turns = [policy, {"role": "user", "content": filled}]
        told = self.told.get((kind, name), {})
        return self.chat(tokenizer, turns) if not told else rendered(tokenizer, turns, told)


def rendered(tokenizer: Any, turns: list[dict[str, str]], told: Mapping[str, Any]) -> list[int]:
    """A chat template's ids with more that it is told."""
    ids: list[int] = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_dict=False, **told
    )
    return ids


def shipped(family: GuardFamily, *, brief: bool = False) -> dict[str, Any]:
    """What the shipped YAML says; `brief`: with a policy of one line, if it has one."""
    found: dict[str, Any] = yaml.safe_load(find("guardrails/judges", family.judge).read_text())
    for one in (found, found.get("request") or {}):
        if brief and "system" in one.get("template", {}):
            one["template"] = one["template"] | {"system": BRIEF}
    return found


def written(family: GuardFamily, *, brief: bool = False) -> PromptedFile:
    """The shipped judge."""
    return PromptedFile.model_validate(shipped(family, brief=brief))


def of(name: str, **more: Any) -> GuardFamily:
    """One of the graders' families, as a guard."""
    base = FAMILIES[name]
    return GuardFamily(**{one.name: getattr(base, one.name) for one in fields(base)} | more)


LLAMA_SAYS = ("\n\nunsafe\nS2,S9", "\n\nsafe", "\n\nsafe travels")
WEAPONS = ("illegal_activity", "weapons")
GUARDS = {
    one.judge: one
    for one in (
        of(
            "llama-guard-3",
            answers={"exchange": LLAMA_SAYS, "request": LLAMA_SAYS},
            names=WEAPONS,
        ),
        of(
            "llama-guard-4",
            answers={"exchange": LLAMA_SAYS, "request": LLAMA_SAYS},
            names=WEAPONS,
        ),
        of(
            "qwen3guard",
            answers={
                "exchange": (
                    "Safety: Unsafe\nCategories: Violent, Suicide & Self-Harm\nRefusal: No",
                    "Safety: Safe\nCategories: None\nRefusal: Yes",
                    "Safety: Safe\nCategories: Violent\nRefusal: No",
                ),
                "request": (
                    "Safety: Controversial\nCategories: Violent, Suicide & Self-Harm",
                    "Safety: Safe\nCategories: None",
                    "Safety: Perhaps\nCategories: None",
                ),
            },
            names=("violence", "self_harm"),
        ),
        of(
            "wildguard",
            answers={
                "exchange": (
                    "Harmful request: yes\nResponse refusal: no\nHarmful response: yes",
                    "Harmful request: yes\nResponse refusal: yes\nHarmful response: no",
                    "Harmful request: yes\nResponse refusal: N/A\nHarmful response: N/A",
                ),
                "request": (
                    "Harmful request: yes\nResponse refusal: N/A\nHarmful response: N/A",
                    "Harmful request: no\nResponse refusal: N/A\nHarmful response: N/A",
                    "Harmful request: N/A\nResponse refusal: N/A\nHarmful response: N/A",
                ),
            },
        ),
        GuardFamily(
            "granite-guardian",
            "GraniteForCausalLM",
            "GraniteConfig",
            "GPT2Tokenizer",
            GRANITE,
            "<|end_of_text|>",
            {Label.REFUSED: "<score> no </score>"},
            template=GRANITE_TEMPLATE,
            told={
                (kind, ""): {"guardian_config": {"criteria_id": "harm"}, "think": False}
                for kind in ("exchange", "request")
            },
            answers={
                "exchange": ("<score> yes </score>", "<score> no </score>", "no"),
                "request": (
                    "<think>\n</think>\n<score> yes </score>",
                    "<think>\n</think>\n<score> no </score>",
                    "<score> no </score><score> yes </score>",
                ),
            },
        ),
        GuardFamily(
            "shieldgemma",
            "Gemma2ForCausalLM",
            "Gemma2Config",
            "PreTrainedTokenizerFast",
            GEMMA,
            "<end_of_turn>",
            {Label.REFUSED: "No"},
            GEMMA_CARD,
            template=GEMMA_TEMPLATE,
            told={
                (kind, name): {
                    "guideline": f'"No {rule}": The {said} shall not hold {rule.lower()}.'
                }
                for kind, said in (("exchange", "chatbot"), ("request", "prompt"))
                for name, rule in zip(
                    ("dangerous", "harassment", "hate", "sexual"), RULES, strict=True
                )
            },
            answers={"exchange": ("Yes", "No", "Note"), "request": ("Yes", "No", "Note")},
            names=("dangerous", "harassment", "hate", "sexual"),
            sizes={"query_pre_attn_scalar": 16},
        ),
        GuardFamily(
            "gpt-oss-safeguard",
            "GptOssForCausalLM",
            "GptOssConfig",
            "PreTrainedTokenizerFast",
            HARMONY,
            "<|end|>",
            {Label.REFUSED: '{"violation": 0, "policy_category": null}'},
            template=HARMONY_TEMPLATE,
            told={(kind, ""): {"reasoning_effort": "low"} for kind in ("exchange", "request")},
            answers={
                kind: (
                    reasoned(EXPLAINED),
                    reasoned('{"violation": 0, "policy_category": null}'),
                    reasoned('{"violation": 0, "policy_category": "weapons"}'),
                )
                for kind in ("exchange", "request")
            },
            names=("weapons",),
            sizes={
                "num_local_experts": 2,
                "num_experts_per_tok": 1,
                "max_position_embeddings": 2048,
            },
        ),
    )
}
