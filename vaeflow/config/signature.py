"""Settings told by Python itself: `help(vaeflow.fit)` lists each with its meaning."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vaeflow.config.text import show, type_name

F = TypeVar("F", bound=Callable[..., Any])


def documented(fields: Mapping[str, Any]) -> Callable[[F], F]:
    """Return a decorator of a function with `**settings`: its help and signature tell each one.

    Arguments:
        fields: name -> pydantic field, whose description is the setting's meaning.
    """

    def decorate(function: F) -> F:
        rows = [
            f"    {name}: {field.description}  "
            f"[{type_name(field.annotation, field.metadata)}; default: {show(field.default)}]"
            for name, field in fields.items()
        ]
        text = inspect.getdoc(function) or ""
        function.__doc__ = "\n".join([text, "", "Settings:", *rows])
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        settings = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
            for name, field in fields.items()
            if name not in signature.parameters
        ]
        function.__signature__ = signature.replace(parameters=[*own, *settings])  # type: ignore[attr-defined]
        return function

    return decorate
