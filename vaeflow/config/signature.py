"""Settings and options told by Python itself: `help(vaeflow.fit)` lists each with its meaning."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from vaeflow.config.settings import PartConfig
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.text import show, type_name

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def documented(fields: Mapping[str, Any]) -> Callable[[F], F]:
    """Return a decorator of a function with `**settings`: its help and signature tell each one.

    Arguments:
        fields: name -> pydantic field, whose description is the setting's meaning.
    """

    def decorate(function: F) -> F:
        rows = [
            f"    {name}: {field.description}  [{_type(field)}; default: {show(_setting(field))}]"
            for name, field in fields.items()
        ]
        _tell(function, "Settings:", rows, {name: _setting(f) for name, f in fields.items()})
        return function

    return decorate


def with_options(options: type[Any]) -> Callable[[F], F]:
    """Return a decorator of a function with `**options`: its help and signature tell each one.

    Arguments:
        options: a dataclass, whose docstrings have the sections "Attributes:".
    """

    def decorate(function: F) -> F:
        rows = []
        for owner in reversed(options.__mro__[:-1]):
            _, _, section = (inspect.getdoc(owner) or "").partition("Attributes:\n")
            rows += section.rstrip().splitlines()
        defaults = {field.name: _default(field) for field in dataclasses.fields(options)}
        _tell(function, "Options:", rows, defaults)
        return function

    return decorate


def options_from(options: type[T], given: Mapping[str, Any], function: str) -> T:
    """Return a dataclass of options that Python gives by name, each of its type.

    Raises:
        ConfigError: if an option is unknown, or of another type.
    """
    known = [field.name for field in dataclasses.fields(options)]  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise ConfigError(
                f"{function}: unknown option {name!r}{did_you_mean(name, known)}; there are "
                f"{', '.join(known)}"
            )
    try:
        return TypeAdapter(options).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{function}: {name} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None


def _tell(
    function: Callable[..., Any], title: str, rows: list[str], defaults: Mapping[str, Any]
) -> None:
    text = inspect.getdoc(function) or ""
    function.__doc__ = "\n".join([text, "", title, *rows])
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in defaults.items()
        if name not in signature.parameters
    ]
    function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _type(field: Any) -> str:
    if isinstance(field.default, PartConfig):
        return "name, or (name, {option: value})"
    return type_name(field.annotation, field.metadata)


def _setting(field: Any) -> Any:
    """Return the default of a setting; that of a part is its name."""
    return field.default.name if isinstance(field.default, PartConfig) else field.default
