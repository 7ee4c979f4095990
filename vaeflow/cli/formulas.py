r"""Docstrings as a terminal shows them: formulas in LaTeX become plain text.

:math:`\log\frac{e^{η_i} - 1}{\hat β}` reads log((e^(η_i) − 1)/β̂).
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator

_WIDTH = 92
_SYMBOLS = {
    "sum": "Σ", "prod": "Π", "int": "∫", "partial": "∂", "nabla": "∇", "infty": "∞", "ell": "ℓ",
    "cdot": "·", "times": "×", "odot": "⊙", "circ": "∘", "otimes": "⊗", "top": "⊤", "pm": "±",
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "in": "∈",
    "propto": "∝", "sim": "~", "to": "→", "mapsto": "↦", "ldots": "…", "dots": "…", "cdots": "…",
    "mid": "|", "vert": "|", "lvert": "|", "rvert": "|", "Vert": "‖", "lVert": "‖", "rVert": "‖",
    "|": "‖", "langle": "⟨", "rangle": "⟩", "varepsilon": "ε", "varphi": "φ", "vartheta": "θ",
    "quad": "\n", "qquad": "\n", "\\": "\n", "!": "", ",": " ", ";": " ", ":": " ",
}  # fmt: skip
_ACCENTS = {"hat": "\u0302", "widehat": "\u0302", "tilde": "\u0303", "widetilde": "\u0303",
            "bar": "\u0304", "dot": "\u0307"}  # fmt: skip
_FRACTIONS = (r"\frac", r"\tfrac", r"\dfrac")
# What needs no brackets above a stroke: no sum and no product of words; below: a single symbol.
_PRODUCT = re.compile(r"−?[^\s+−±·/,]+")
_SYMBOL = re.compile(r"∂?(\d+|§|[^\W\d_][\u0300-\u036f]*([_^][\w§]|_\w+)*§?)[⁰¹²³⁴-⁹⁻′'!]*")
_LAYOUT = re.compile(r"left|right|[bB]igg?[lr]?|limits|displaystyle|nonumber")
_FONT = re.compile(r"math[a-z]+|text[a-z]*|operatorname\*?|boldsymbol|bm")
_RAISED = str.maketrans("0123456789-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")
_TOKEN = re.compile(r"\\operatorname\*|\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)


def plain(text: str) -> str:
    """Return a docstring without the marks of LaTeX and reStructuredText."""
    text = re.sub(r"^( *)\.\. math::(.*(?:\n+\1 +\S.*)*)", _block, text, flags=re.MULTILINE)
    text = re.sub(r":math:`([^`]*)`", lambda match: formula(match[1]).replace("\n", " "), text)
    text = re.sub(r":[a-z:]+:`~?([^`]*)`", r"`\1`", text)
    return text.replace("``", "`")


def _block(match: re.Match[str]) -> str:
    """Return a displayed formula, indented, a line for each part that a \\quad sets apart."""
    indent = match[1] + 4 * " "
    lines = (_wrapped(line, _WIDTH - len(indent)) for line in formula(match[2]).split("\n"))
    return "\n".join(textwrap.indent(line, indent) for line in lines)


def _wrapped(line: str, width: int) -> str:
    """Break a long formula before a sign that is in no brackets."""
    depth, terms = 0, [""]
    for word in line.split(" "):
        if word in "+−" and not depth:
            terms.append("")
        terms[-1] += f" {word}" if terms[-1] else word
        depth += sum(word.count(c) for c in "([") - sum(word.count(c) for c in ")]")
    lines = terms[:1]
    for term in terms[1:]:
        if len(lines[-1]) + len(term) < width:
            lines[-1] += f" {term}"
        else:
            lines.append(f"    {term}")
    return "\n".join(lines)


def formula(latex: str) -> str:
    """Return a formula as plain text; its lines are the parts that a \\quad sets apart."""
    latex = re.sub(r"\\(left|right)\s*\.", "", " ".join(latex.split()))
    text = re.sub(r" +", " ", _Reader(latex).all())
    lines = (line.strip() for line in re.sub(r"(?<=[(\[]) | (?=[)\]])", "", text).split("\n"))
    return unicodedata.normalize("NFC", "\n".join(filter(None, lines)))


class _Reader:
    """Reads a formula from left to right."""

    def __init__(self, latex: str) -> None:
        self._tokens: Iterator[str] = iter(_TOKEN.findall(latex))

    def all(self, end: str = "") -> str:
        """Return everything up to the token `end`."""
        text, word = "", False  # whether a function such as log was read last
        for token in self._tokens:
            if token == end:
                break
            if token in ("_", "^"):
                text += _script(token, self._argument())
                continue
            new = self._value(token)
            if word and token in _FRACTIONS:
                new = f"({new})"
            elif word and re.match(r"[\w√∂]", new):
                new = f" {new}"
            text += new
            if new:  # the size of a bracket stands for nothing
                word = token.startswith("\\") and new.isalpha() and len(new) > 1
        return text

    def _argument(self) -> str:
        """Return the next group, or the next symbol."""
        token = next(self._tokens, "")
        return self._argument() if token.isspace() else self._value(token)

    def _value(self, token: str) -> str:
        """Return what a token stands for, with its arguments."""
        if token == "{":
            return self.all("}")
        if not token.startswith("\\"):
            return {"-": "−", "~": " ", "&": ""}.get(token, token)
        name = token[1:]
        if token in _FRACTIONS:
            above, below = self._argument(), self._argument()
            return f"{_enclosed(above, _PRODUCT)}/{_enclosed(below, _SYMBOL)}"
        if name == "sqrt":
            return f"√{_enclosed(self._argument(), _SYMBOL)}"
        if name in _ACCENTS:
            bare = self._argument()
            return f"{bare[:1]}{_ACCENTS[name]}{bare[1:]}"
        if name in ("begin", "end"):
            self._argument()
            return ""
        if _FONT.fullmatch(name):
            return self._argument()
        if _LAYOUT.fullmatch(name):
            return ""
        return _SYMBOLS.get(name) or _greek(name)


def _greek(name: str) -> str:
    """Return a Greek letter by its name, or the name itself, such as log."""
    size = "CAPITAL" if name[:1].isupper() else "SMALL"
    name = {"lambda": "lamda", "Lambda": "Lamda"}.get(name, name)
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {name}")
    except KeyError:
        return name


def _script(mark: str, text: str) -> str:
    """Return a subscript or a superscript."""
    if mark == "^" and re.fullmatch(r"−?\d+", text):
        return text.translate(_RAISED)
    if len(text) == 1 or (mark == "_" and text.isalnum()):
        return mark + text
    return f"{mark}({text})"


def _enclosed(text: str, alone: re.Pattern[str]) -> str:
    """Return a text in brackets, unless it stands alone where its own brackets are a mere §."""
    outside, before = text, ""
    while outside != before:
        outside, before = re.sub(r"\([^()]*\)|\[[^][]*\]", "§", outside), outside
    outside = re.sub(r"‖[^‖]*‖|\|[^|]*\|", "§", outside)
    return text if alone.fullmatch(outside) else f"({text})"
