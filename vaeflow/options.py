"""A part's options: read off its constructor, validated, and explained.

The keyword-only parameters of a part's constructor are its options; their meaning stands in the
section "Options:" of its docstring. Nothing else is needed to offer them on the command line, in a
configuration file and in --help.
"""

from __future__ import annotations

import inspect
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticUndefined

from vaeflow.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Option:
    """One option of a part, as --help shows it."""

    name: str
    type: str
    default: str  # "" where a value is required
    meaning: str

    @property
    def required(self) -> bool:
        """Tell whether the option has no default."""
        return self.default == ""


@cache
def options_model(part: type) -> type[BaseModel]:
    """Return a pydantic model of the keyword-only parameters of `part`'s constructor."""
    hints = typing.get_type_hints(part.__init__, include_extras=True)  # type: ignore[misc]
    meanings = _meanings(part)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(part).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        annotation = from_text(hints.get(name, Any))
        fields[name] = (annotation, Field(default, description=meanings.get(name, "")))
    config = ConfigDict(extra="forbid", validate_default=True, arbitrary_types_allowed=True)
    return create_model(part.__name__, __config__=config, **fields)


def describe(part: type) -> list[Option]:
    """Return the options of a part, in the order of its constructor."""
    rows = []
    for name, field in options_model(part).model_fields.items():
        required = field.default is PydanticUndefined
        rows.append(
            Option(
                name=name,
                type=type_name(field.annotation, field.metadata),
                default="" if required else show(field.default),
                meaning=field.description or "",
            )
        )
    return rows


def validate(part: type, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options with defaults filled in, converted to their types.

    Arguments:
        part: the class whose constructor will take them.
        options: raw values, text as it came from the command line included.
        where: the prefix of the error, such as "posterior".

    Raises:
        ConfigError: naming the first wrong option, its value and what is expected.
    """
    model = options_model(part)
    try:
        return dict(model.model_validate(dict(options)))
    except ValidationError as error:
        raise ConfigError(explain(error, where + ".", model)) from None


def explain(error: ValidationError, prefix: str, model: type[BaseModel]) -> str:
    """Turn pydantic's first complaint into one sentence with value, expectation and cure."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    flag = f"--{prefix}{name}".replace("_", "-")
    known = list(model.model_fields)
    if first["type"] == "extra_forbidden":
        has = f"its options are {', '.join(known)}" if known else "it has no options"
        return f"{flag}: unknown option{did_you_mean(name, known)}; {has}"
    if first["type"] == "missing":
        meaning = model.model_fields[name].description
        return f"{flag} is required: {meaning or 'give it a value'}"
    field = model.model_fields.get(name)
    expected = type_name(field.annotation, field.metadata) if field else "another value"
    reason = first["msg"][0].lower() + first["msg"][1:]
    return f"{flag}: got {show(first['input'])}, expected {expected} ({reason})"


def from_text(annotation: Any) -> Any:
    """Let a field accept the text that a command line gives it: "500,500", "none", "[1, 2]"."""
    takes_none = _is_union(annotation) and type(None) in get_args(annotation)
    takes_text = annotation is str or str in get_args(annotation)

    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if takes_none and value.lower() == "none":
            return None
        if _is_sequence(annotation):
            return split_list(value)
        if not takes_text and _is_literal(annotation):
            return _toml_value(value)
        return value

    return Annotated[annotation, BeforeValidator(parse)]


def split_list(value: Any) -> Any:
    """Return the items of a text such as "500,500" or "[500, 500]"; other values pass."""
    if not isinstance(value, str):
        return value
    return [item for item in re.split(r"[,\s]+", value.strip("[]() ")) if item]


def _toml_value(text: str) -> Any:
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def _is_literal(annotation: Any) -> bool:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_origin(annotation) is typing.Literal


def _is_sequence(annotation: Any) -> bool:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if _is_union(annotation):
        return any(_is_sequence(arm) for arm in get_args(annotation))
    return get_origin(annotation) in (tuple, list) or annotation in (tuple, list)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def type_name(annotation: Any, metadata: typing.Iterable[Any] = ()) -> str:
    """Return a type as a person would write it: "integer ≥ 1", "one of fixed | shared"."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return type_name(inner, [*more, *metadata])
    if get_origin(annotation) is typing.Literal:
        return "one of " + " | ".join(str(v) for v in get_args(annotation))
    if _is_union(annotation):
        arms = [a for a in get_args(annotation) if a is not type(None)]
        names = [type_name(a, metadata) for a in arms]
        return " or ".join(names + ["none"] * (len(arms) < len(get_args(annotation))))
    if _is_sequence(annotation):
        item = get_args(annotation)
        return f"{type_name(item[0]) if item else 'value'}, …"
    plain = {int: "integer", float: "number", bool: "true | false", str: "text"}
    name = plain.get(annotation) or getattr(annotation, "__name__", str(annotation)).lower()
    bounds = [
        f"{sign} {getattr(constraint, key):g}"
        for constraint in metadata
        for key, sign in _BOUNDS.items()
        if getattr(constraint, key, None) is not None
    ]
    return " ".join([name, *bounds])


def show(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(show(v) for v in value) or "[]"
    if isinstance(value, float):
        return f"{value:g}"
    return repr(value) if isinstance(value, str) and not value else str(value)


def summary(part: type) -> str:
    """Return the first sentence of a part's docstring, as a line of plain text."""
    text = inspect.getdoc(part) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s", paragraph)[0]


def _meanings(part: type) -> dict[str, str]:
    """Read the docstring section "Options:" into name -> meaning."""
    lines = (inspect.getdoc(part) or "").splitlines()
    if "Options:" not in lines:
        return {}
    found: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Options:") + 1 :]:
        if line and not line.startswith(" "):
            break
        if match := re.match(r" {4}(\w+): (.*)", line):
            name, meaning = match.groups()
            found[name] = meaning
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
