"""A comparison as a document: Markdown, and one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable

from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.report.tables import Table, in_common, tables
from vaeflow.evaluation.findings import Finding, sentences

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 0 0 1.5em; }
th, td { padding: .25em .8em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, .words * { text-align: left; }
th { border-bottom: 2px solid #888; }
h2 { font-size: 1.1em; margin-bottom: .3em; }
img { max-width: 100%; }
p.remark { color: #555; margin: .2em 0; }
"""


def markdown(comparison: Comparison) -> str:
    """Return the report in Markdown, its plot a file beside it."""
    parts = ["# Comparison", _markdown_list(comparison.results)]
    for table in tables(comparison):
        parts += _markdown_table(table)
    parts += ["![NLL against the time of a step](report.png)", _markdown_list(comparison.remarks)]
    parts += _markdown_table(in_common(comparison))
    return "\n\n".join(filter(None, parts)) + "\n"


def page(comparison: Comparison, png: bytes) -> str:
    """Return one HTML page that needs no other file and no network."""
    e = html.escape
    parts = ["<ul>", *(f"<li>{e(told)}</li>" for told in sentences(comparison.results)), "</ul>"]
    source = base64.b64encode(png).decode("ascii")
    parts.append(f'<img alt="NLL against the time of a step" src="data:image/png;base64,{source}">')
    for table in tables(comparison):
        parts += _html_table(table)
    parts += [f'<p class="remark">{e(told)}</p>' for told in sentences(comparison.remarks)]
    parts += _html_table(in_common(comparison))
    head = f'<meta charset="utf-8"><title>vaeflow: comparison</title><style>{_STYLE}</style>'
    body = "\n".join(["<h1>Comparison</h1>", *parts])
    document = f'<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>'
    return f"<!doctype html>\n{document}\n"


def _markdown_list(findings: Iterable[Finding]) -> str:
    return "\n".join(f"- {_markdown_text(sentence)}" for sentence in sentences(findings))


def _markdown_table(table: Table) -> list[str]:
    lines = ["| " + " | ".join(table.headings) + " |", "|" + "---|" * len(table.headings)]
    lines += ["| " + " | ".join(_markdown_text(cell) for cell in row) + " |" for row in table.rows]
    return [f"## {table.title}", "\n".join(lines)]


def _markdown_text(text: str) -> str:
    """Return a text in which Markdown finds no HTML, no entity, no link and no picture."""
    for character, entity in {"&": "&amp;", "<": "&lt;", "[": "&#91;"}.items():
        text = text.replace(character, entity)
    return " ".join(text.split())


def _html_table(table: Table) -> list[str]:
    opening = '<table class="words">' if table.of_words else "<table>"
    title = f"<h2>{html.escape(table.title)}</h2>"
    rows = (_html_row("td", row) for row in table.rows)
    return [title, opening, _html_row("th", table.headings), *rows, "</table>"]


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
