"""Finds what ships with safeft (YAML, prompts), and reads YAML into strict models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from safeft.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    Model = TypeVar("Model", bound=BaseModel)

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parents[1]


def folder(kind: str) -> Path:
    """The shipped folder `recipes`, `guardrails` or `eval`.

    An editable install leaves a stale copy of the assets in site-packages, which is why the
    wheel's folder is looked up beside the imported package and nowhere else.
    """
    wheel = _PACKAGE / "_assets"
    return (wheel if wheel.is_dir() else _CHECKOUT) / kind


def find(kind: str, name: str) -> Path:
    """The file for `name`: an existing path as given, or the shipped asset of that name.

    Raises ConfigError, with the nearest shipped name, when there is neither.
    """
    given = Path(name)
    if given.is_file():
        return given
    shipped = {path.stem: path for path in sorted(folder(kind).glob("*.yaml"))}
    if name in shipped:
        return shipped[name]
    raise ConfigError(f"{kind}: no file or shipped name {name!r}{did_you_mean(name, shipped)}")


def read_yaml(path: Path, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """`path` as a validated `model`, after `overrides` such as `training.lr=1e-4` are applied.

    The values are validated as JSON, so that a strict model takes a list for a tuple and a string
    for an enum, and nothing else is converted. Raises ConfigError; its message names the file and,
    one line per problem, the dotted key, what is wrong and how to fix it.
    """
    from pydantic import ValidationError

    data = read_mapping(path)
    for override in overrides:
        _apply(data, override, path)
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        found = [_problem(one, model, data, overrides) for one in error.errors()]
        raise ConfigError("\n".join(f"{path}: {line}" for line in found)) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: holds more than text, numbers, true, false, null, lists and mappings "
            f"({error}); remove tags such as !!binary and aliases that contain themselves"
        ) from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values: `1e-4` is a number, and `no`, `1:30` and dates stay text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are text and differ; YAML itself would keep the last silently."""
        written = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        self.flatten_mapping(node)
        seen: set[str] = set()
        for key in written:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be text", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} appears twice; keep one", key.start_mark
                )
            seen.add(key.value)
        pairs = ((key.value, self.construct_object(value, deep=True)) for key, value in node.value)
        return dict(pairs)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", "~nN\0"),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", "-+0123456789"),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+.0123456789",
    ),
    ("merge", r"(?:<<)", "<"),
):
    _firsts = ["" if character == "\0" else character for character in _first]
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^{_pattern}$"), _firsts
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_yaml(text: str, place: str) -> Any:
    """The value of a YAML text. Raises ConfigError naming `place`."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """What a YAML says, not validated yet. Raises ConfigError when it holds no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); give the path of a YAML file in UTF-8"
        ) from error
    data = {} if (parsed := parse_yaml(text, str(path))) is None else parsed
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path}: must hold `key: value` lines, but holds a {_kind(data)}; see a shipped file"
        )
    return data


def _kind(value: object) -> str:
    names = {dict: "mapping", list: "list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "number")


def _apply(data: dict[str, Any], override: str, path: Path) -> None:
    place = f"{path}: override {override!r}"
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{place}: must look like key=value, e.g. training.lr=1e-4")
    target: Any = data
    for part in parts[:-1]:
        target = _step(target, part, place)
    target[_index(target, parts[-1], place)] = parse_yaml(text, place)


def _step(target: Any, part: str, place: str) -> Any:
    if isinstance(target, dict) and target.get(part) is None:
        target[part] = {}
    return target[_index(target, part, place)]


def _index(target: Any, part: str, place: str) -> Any:
    if isinstance(target, dict):
        return part
    if isinstance(target, list) and part.isdecimal() and int(part) < len(target):
        return int(part)
    if isinstance(target, list):
        raise ConfigError(f"{place}: {part!r} is not an index of a list of {len(target)}, from 0")
    raise ConfigError(f"{place}: {part!r} lies inside a {_kind(target)}; shorten the key")


def _problem(
    error: ErrorDetails, model: type[BaseModel], data: Any, overrides: Sequence[str]
) -> str:
    key = ".".join(str(part) for part in _written(error, data))
    setting = [
        one for one in overrides if f"{key}.".startswith(one.partition("=")[0].strip() + ".")
    ]
    source = f" (set by override {setting[-1]!r})" if setting else ""
    return f"{key + ': ' if key else ''}{_wrong(error, model)}{source}"


def _written(error: ErrorDetails, data: Any) -> Iterator[int | str]:
    """The location without the names that pydantic adds for the branches of a union."""
    absent_is_fine = error["type"] == "missing"
    for position, part in enumerate(error["loc"]):
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if inside:
            data = data[part]
        if inside or (absent_is_fine and position == len(error["loc"]) - 1):
            yield part


def _wrong(error: ErrorDetails, model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        known = _fields(model, error["loc"][:-1])
        return f"unknown key{did_you_mean(str(error['loc'][-1]), known)}"
    if error["type"] == "missing":
        return "missing; add it"
    if error["type"] in ("literal_error", "enum"):
        allowed = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        if allowed and isinstance(error["input"], str):
            return f"{error['input']!r} is not valid{did_you_mean(error['input'], allowed)}"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        tags = re.findall(r"'([^']*)'", context["expected_tags"])
        hint = did_you_mean(context["tag"], tags)
        return f"{context['discriminator']} {context['tag']!r} is not known{hint}"
    wrong = error["msg"].removeprefix("Value error, ")
    # What a validator says of a whole mapping names the values that it means.
    whole = error["type"] == "value_error" and isinstance(error["input"], dict)
    return wrong if whole else f"{wrong}, not {error['input']!r}"


def _fields(model: type[BaseModel], location: Sequence[int | str]) -> set[str]:
    """The field names of the models that may stand at `location` inside `model`."""
    kinds: list[Any] = [model]
    for part in location:
        below = [inner for kind in kinds for inner in _below(kind, part)]
        named = [kind for kind in kinds if part in _names(kind)]
        kinds = below or named or kinds  # a part that leads nowhere names the branch of a union
    return {name for kind in kinds for name in getattr(kind, "model_fields", {})}


def _names(kind: Any) -> set[Any]:
    """What pydantic may call this branch of a union: the class, or a tag of its discriminator."""
    annotations = [field.annotation for field in getattr(kind, "model_fields", {}).values()]
    tags = {tag for one in annotations if get_origin(one) is Literal for tag in get_args(one)}
    return {getattr(kind, "__name__", ""), *tags}


def _below(kind: Any, part: int | str) -> list[Any]:
    if fields := getattr(kind, "model_fields", None):
        matching = [
            field.annotation for name, field in fields.items() if part in (name, field.alias)
        ]
        return [flat for annotation in matching for flat in _flatten(annotation)]
    origin, arguments = get_origin(kind), get_args(kind)
    inner = arguments[-1:] if origin is dict else arguments if origin is not None else ()
    return [flat for argument in inner for flat in _flatten(argument)]


def _flatten(annotation: Any) -> list[Any]:
    """The branches of a union, `Annotated` removed."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _flatten(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [flat for one in get_args(annotation) for flat in _flatten(one)]
    return [annotation]
