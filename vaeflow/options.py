"""A part's options: read off its constructor, validated, and explained.

The keyword-only parameters of a part's constructor are its options. Their meanings stand in the
section "Options:" of its docstring. The command line, configuration files and --help need nothing
else.
"""

from __future__ import annotations

import inspect
import re
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticUndefined

from vaeflow.errors import ConfigError, PluginError, did_you_mean
from vaeflow.text import from_text, show, type_name

_ABBREVIATION = re.compile(r"\b(al|cf|e\.g|eqs?|figs?|i\.e|pp?|sec|vs)\.$", re.IGNORECASE)


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
        fields = _fields(part)
        with warnings.catch_warnings():
            # An option may be called like a method of pydantic's models, such as "copy".
            warnings.simplefilter("ignore", UserWarning)
            return create_model(part.__name__, __config__=_CONFIG, **fields)
    except Exception as error:
        raise PluginError(
            f"the options of {part.__module__}.{part.__qualname__} cannot be read off its "
            f"constructor ({type(error).__name__}: {error}): correct the types in its signature"
        ) from error


def _fields(part: type) -> dict[str, Any]:
    """Return the options of a part, as pydantic's `create_model` takes them."""
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
    return fields


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
        ConfigError: naming the first wrong option, its value and the expectation.
    """
    model = options_model(part)
    try:
        return dict(model.model_validate(dict(options)))
    except ValidationError as error:
        raise ConfigError(explain(error, where + ".", model)) from None


def explain(error: ValidationError, prefix: str, model: type[BaseModel]) -> str:
    """Turn pydantic's first complaint into one sentence with value, expectation and cure."""
    # A misspelt option explains the lack of a required one.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    name = str(first["loc"][0]) if first["loc"] else ""
    flag = f"--{prefix}{name}".replace("_", "-")
    known = list(model.model_fields)
    if first["type"] == "extra_forbidden":
        has = f"the options {', '.join(known)}" if known else "no options"
        told = f"{model.__name__} has {has}" if prefix else f"there are {', '.join(known)}"
        return f"{flag}: unknown option{did_you_mean(name, known)}; {told}"
    if first["type"] == "missing":
        meaning = model.model_fields[name].description
        return f"{flag} is required: {meaning or 'give it a value'}"
    field = model.model_fields.get(name)
    if field and first["type"] == "string_pattern_mismatch":  # users read no regular expressions
        return f"{flag}: got {show(first['input'])}, expected {field.description}"
    expected = type_name(field.annotation, field.metadata) if field else "another value"
    given = first["input"]
    if hasattr(given, "__arrow_c_stream__") or hasattr(given, "to_numpy"):
        return (
            f"{flag}: got a {type(given).__name__}, expected {expected}: a data frame becomes "
            "splits by vaeflow.datasets.Table.of(frame), which vaeflow.build and vaeflow.fit take"
        )
    reason = first["msg"][0].lower() + first["msg"][1:]
    return f"{flag}: got {_short(show(given))}, expected {expected} ({reason})"


def _short(text: str) -> str:
    """Return the beginning of a long text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def summary(part: type) -> str:
    """Return the first sentence of a part's docstring, as a line."""
    return first_sentence(inspect.getdoc(part) or "")


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring, as a line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    for end in re.finditer(r"[.!?](?=\s)", paragraph):
        before = paragraph[: end.end()]
        within = sum(map(before.count, "([")) > sum(map(before.count, ")]"))
        if not within and not _ABBREVIATION.search(before):
            return before
    return paragraph


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
