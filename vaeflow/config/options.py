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
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticCustomError, PydanticUndefined

from vaeflow.errors import ConfigError, PluginError, did_you_mean


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


_CONFIG = ConfigDict(
    extra="forbid",
    validate_default=True,
    arbitrary_types_allowed=True,
    allow_inf_nan=False,
    protected_namespaces=(),
)


@cache
def options_model(part: type) -> type[BaseModel]:
    """Return a pydantic model of the keyword-only parameters of `part`'s constructor.

    Raises:
        PluginError: if the signature names types that do not exist.
    """
    try:
        hints = typing.get_type_hints(part.__init__, include_extras=True)  # type: ignore[misc]
        meanings = {k: v for c in reversed(part.__mro__) for k, v in _meanings(c).items()}
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(part).parameters.items():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                continue
            if name == "name":
                raise ValueError("an option cannot be called name, which is the part's own")
            default = ... if parameter.default is parameter.empty else parameter.default
            annotation = from_text(hints.get(name, Any))
            fields[name] = (annotation, Field(default, description=meanings.get(name, "")))
        with warnings.catch_warnings():
            # An option may be called like a method of pydantic's models, such as "copy".
            warnings.simplefilter("ignore", UserWarning)
            return create_model(part.__name__, __config__=_CONFIG, **fields)
    except Exception as error:
        raise PluginError(
            f"the options of {part.__module__}.{part.__qualname__} cannot be read off its "
            f"constructor ({type(error).__name__}: {error}): correct the types in its signature"
        ) from error


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
        has = f"the options {', '.join(known)}" if known else "no options"
        return f"{flag}: unknown option{did_you_mean(name, known)}; {model.__name__} has {has}"
    if first["type"] == "missing":
        meaning = model.model_fields[name].description
        return f"{flag} is required: {meaning or 'give it a value'}"
    field = model.model_fields.get(name)
    if field and first["type"] == "string_pattern_mismatch":  # a regular expression helps nobody
        return f"{flag}: got {show(first['input'])}, expected {field.description}"
    expected = type_name(field.annotation, field.metadata) if field else "another value"
    reason = first["msg"][0].lower() + first["msg"][1:]
    return f"{flag}: got {show(first['input'])}, expected {expected} ({reason})"


def from_text(annotation: Any) -> Any:
    """Let a field accept the text that a command line gives it: "500,500", "none", "[1, 2]"."""
    return Annotated[annotation, BeforeValidator(partial(read, annotation))]


def read(annotation: Any, value: Any) -> Any:
    """Turn a text into what pydantic can convert to `annotation`; other values pass."""
    arms = _arms(annotation)
    if isinstance(value, bool) and bool not in arms and {int, float} & {*arms}:
        # pydantic would take true for 1, the number of epochs, say.
        raise PydanticCustomError("number", "true and false are no numbers")
    if not isinstance(value, str):
        return value
    if type(None) in arms and value.lower() == "none":
        return None
    if any(_is_sequence(arm) for arm in arms):
        return split_list(value)
    literals = [v for arm in arms if get_origin(arm) is typing.Literal for v in get_args(arm)]
    if literals and value not in literals and str not in arms:
        return _toml_value(value)
    return value


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


def _arms(annotation: Any) -> tuple[Any, ...]:
    """Return the types that an annotation admits, without their constraints."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if _is_union(annotation):
        return tuple(bare for arm in get_args(annotation) for bare in _arms(arm))
    return (annotation,)


def _is_sequence(annotation: Any) -> bool:
    return get_origin(annotation) in (tuple, list) or annotation in (tuple, list)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def type_name(annotation: Any, metadata: typing.Iterable[Any] = ()) -> str:
    """Return a type as a person would write it: "integer ≥ 1", "one of fixed | shared"."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        # A Field within a union keeps its bounds to itself.
        bounds = [b for m in more for b in getattr(m, "metadata", [m])]
        return type_name(inner, [*bounds, *metadata])
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
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return repr(value) if isinstance(value, str) and not value else str(value)


def summary(part: type) -> str:
    """Return the first sentence of a part's docstring, as a line of plain text."""
    text = inspect.getdoc(part) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.])(?<! al[.])\s", paragraph)[0]  # "et al." ends none


def _meanings(part: type) -> dict[str, str]:
    """Read the section "Options:" of a class's own docstring into name -> meaning."""
    lines = inspect.cleandoc(part.__dict__.get("__doc__") or "").splitlines()
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
