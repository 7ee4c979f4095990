"""Values and types as text: read from a command line, and written as a person would."""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from functools import partial
from html import escape
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

_NAMES = {int: "integer", float: "number", bool: "true | false", str: "text"}
_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def from_text(annotation: Any) -> Any:
    """Return the annotation, with text accepted as well: "500,500", "none", "[1, 2]"."""
    return Annotated[annotation, BeforeValidator(partial(read, annotation))]


def read(annotation: Any, value: Any) -> Any:
    """Turn text into a value that pydantic can convert to `annotation`; other values pass.

    Raises:
        PydanticCustomError: if true or false is given for a number.
    """
    arms = _arms(annotation)
    if isinstance(value, bool) and bool not in arms and {int, float} & {*arms}:
        # pydantic would read `epochs = true` as 1.
        raise PydanticCustomError("number", "true and false are no numbers")
    if not isinstance(value, str):
        return value
    if type(None) in arms and value.lower() == "none":
        return None
    if any(_is_sequence(arm) for arm in arms):
        texts = any(str in get_args(arm) for arm in arms if _is_sequence(arm))
        return _names(value) if texts else _items(value)
    if any(_is_mapping(arm) for arm in arms):
        return _entries(value)
    literals = [v for arm in arms if get_origin(arm) is Literal for v in get_args(arm)]
    if literals and value not in literals and str not in arms:
        return _toml_value(value)
    return value


def _items(text: str) -> list[str]:
    """Return the items of a text such as "500,500" or "[500, 500]"."""
    return [item for item in re.split(r"[,\s]+", text.strip("[]() ")) if item]


def _names(text: str) -> list[str]:
    """Return the items of a text such as "age,income per head": a name may have spaces."""
    bare = text[1:-1] if text[:1] + text[-1:] == "[]" else text
    return [item.strip() for item in bare.split(",") if item.strip()]


def _entries(text: str) -> dict[str, str]:
    """Return the entries of a text such as "age=student-t,visits=poisson".

    Raises:
        PydanticCustomError: if an item has no "=".
    """
    entries = {}
    for item in filter(None, (item.strip() for item in text.strip("{} ").split(","))):
        name, equals, value = item.rpartition("=")
        if not equals:
            raise PydanticCustomError("entries", "write NAME=VALUE, with a comma between two")
        entries[name.strip()] = value.strip()
    return entries


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _arms(annotation: Any) -> tuple[Any, ...]:
    """Return the types that an annotation admits, without their constraints."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if _is_union(annotation):
        return tuple(bare for arm in get_args(annotation) for bare in _arms(arm))
    return (annotation,)


def is_of(annotation: Any, kind: type) -> bool:
    """Tell whether an annotation admits values of a type."""
    return kind in _arms(annotation)


def alternatives(annotation: Any) -> list[Any]:
    """Return the values of an annotation that admits only a few: true and false, or names."""
    found: list[Any] = []
    for arm in _arms(annotation):
        if get_origin(arm) is Literal:
            found += get_args(arm)
        elif arm is bool:
            found += [True, False]
        elif arm is type(None):
            found.append(None)
        else:
            return []
    return found


def _is_sequence(annotation: Any) -> bool:
    return get_origin(annotation) in (tuple, list) or annotation in (tuple, list)


def _is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) in (dict, Mapping) or annotation is dict


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def type_name(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return a type as a person would write it: "integer ≥ 1", "one of fixed | shared".

    Arguments:
        annotation: the type, or a union, a Literal or an Annotated of types.
        metadata: constraints that stand beside the annotation, such as pydantic's Ge.
    """
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        # Within a union pydantic leaves bounds in the metadata of a Field.
        bounds = [b for m in more for b in getattr(m, "metadata", [m])]
        return type_name(inner, [*bounds, *metadata])
    if get_origin(annotation) is Literal:
        return "one of " + " | ".join(str(v) for v in get_args(annotation))
    if _is_union(annotation):
        arms = [a for a in get_args(annotation) if a is not type(None)]
        names = [type_name(a, metadata) for a in arms]
        return " or ".join(names + ["none"] * (len(arms) < len(get_args(annotation))))
    if _is_sequence(annotation):
        item = get_args(annotation)
        return f"{type_name(item[0]) if item else 'value'}, …"
    if _is_mapping(annotation):
        value = get_args(annotation)[1:]
        return f"name={type_name(value[0]) if value else 'value'}, …"
    name = _NAMES.get(annotation) or getattr(annotation, "__name__", str(annotation)).lower()
    return " ".join([name, *_bounds(metadata)])


def _bounds(metadata: Iterable[Any]) -> list[str]:
    return [
        f"{sign} {getattr(constraint, key):g}"
        for constraint in metadata
        for key, sign in _SIGNS.items()
        if getattr(constraint, key, None) is not None
    ]


def show(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(show(v) for v in value) or "[]"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={show(v)}" for name, v in value.items()) or "{}"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return repr(value) if isinstance(value, str) and not value else str(value)


def html_table(
    title: str, rows: Iterable[Iterable[object]], headings: Iterable[object] = ()
) -> str:
    """Return a table as a notebook shows it. All text is escaped."""
    head = _html_row("th", headings)
    head = f"<thead>{head}</thead>" if head else ""
    body = "".join(_html_row("td", row) for row in rows)
    caption = f'<caption style="text-align: left">{escape(title)}</caption>'
    return f"<table>{caption}{head}<tbody>{body}</tbody></table>"


def html_columns(title: str, columns: Mapping[str, Any], most: int = 10) -> str:
    """Return the first rows of named columns (N,) as a table."""
    size = min((len(values) for values in columns.values()), default=0)
    rows = [
        [f"{v:.5g}" if isinstance(v, float) else "" if v is None else v for v in row]
        for row in zip(*(list(values[:most]) for values in columns.values()), strict=True)
    ]
    more = [["…" for _ in columns]] if size > most else []
    return html_table(f"{title}, {size:,} rows", [*rows, *more], columns)


def _html_row(tag: str, cells: Iterable[object]) -> str:
    cell = "".join(f'<{tag} style="text-align: left">{escape(str(c))}</{tag}>' for c in cells)
    return f"<tr>{cell}</tr>" if cell else ""
