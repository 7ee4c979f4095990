"""Standard output and error that outlive their reader, and write each character in some way."""

from __future__ import annotations

import codecs
import errno
import io
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

_GONE = (errno.EPIPE, errno.EIO)  # of a pipe, as after `| head`; of a terminal that was closed
_ASCII = {
    "−": "-", "–": "-", "…": "...", "‖": "||", "±": "+/-", "×": "x", "·": "*", "½": "1/2",
    "∂": "d", "∞": "inf", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "√": "sqrt", "∇": "grad ",
    "∫": "int ", "⊙": "*", "∘": "o", "→": "->", "↦": "->", "§": "section ", "⁻": "^-", "✓": "ok",
    "✗": "x", "⌈": "ceil(", "⌉": ")", "⊤": "^T", "⊗": "(x)", "∈": "in", "∝": "~", "⟨": "<",
    "⟩": ">", "′": "'", "█": "#", "░": ".", "ø": "o", "€": "EUR", "£": "GBP",
}  # fmt: skip


def in_ascii(text: str) -> str:
    """Return a text in ASCII that reads alike: β ≤ 1 ± σ² becomes beta <= 1 +/- sigma^2."""
    return re.sub(r"[^\x00-\x7f]", lambda match: _spelled(match[0]), text)


def _spelled(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.combining(character):
        return ""
    name = unicodedata.name(character, "")
    if letter := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", name):
        told = letter[2].replace("LAMDA", "LAMBDA")
        return told.lower() if letter[1] == "SMALL" else told.capitalize()
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    raised = "^" if name.startswith(("SUPERSCRIPT", "MODIFIER")) else ""
    return f"{raised}{plain}" if plain else "?"


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return in_ascii(error.object[error.start : error.end]), error.end


def _other_name(name: str) -> codecs.CodecInfo | None:
    """Return ASCII by another name: click takes a stream of that name for one of UTF-8."""
    if name != _SPELLED:
        return None
    a = codecs.lookup("ascii")
    return codecs.CodecInfo(
        a.encode,
        a.decode,
        a.streamreader,
        a.streamwriter,
        a.incrementalencoder,
        a.incrementaldecoder,
        name=name,
    )


_SPELLED = "spelled_ascii"
codecs.register(_other_name)
codecs.register_error("vaeflow", _replaced)


class _Lasting(io.FileIO):
    """A file whose reader may leave: what is written then is gone, and the work goes on."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return len(data)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let standard output and error outlive their reader within the block.

    A character that the encoding of a stream lacks is spelled in ASCII. A stream that is no file,
    as in a notebook, stays as it is.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(before[0]), _lasting(before[1])
    try:
        yield
    finally:
        with suppress(OSError, ValueError, AttributeError):  # what fails was told before
            sys.stdout.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        stream.flush()
        number = stream.fileno()
    except (OSError, ValueError):
        return stream
    ascii_alone = codecs.lookup(stream.encoding).name == "ascii"
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(number, "wb", closefd=False)),
        encoding=_SPELLED if ascii_alone else stream.encoding,
        errors="vaeflow",
        line_buffering=stream.line_buffering or stream.write_through,
    )
