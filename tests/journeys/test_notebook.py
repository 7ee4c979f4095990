"""What a notebook shows of results: small tables, whose text is escaped."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

import vaeflow
from vaeflow.runs.directory import Run
from vaeflow.text import html_columns, html_table


def cells(html):
    """Return the caption and the rows of a table; its tags must be closed in their order."""
    found, stack, texts = [], [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            stack.append(tag)
            if tag == "tr":
                found.append([])
            texts.clear()

        def handle_data(self, data):
            texts.append(data)

        def handle_endtag(self, tag):
            assert stack.pop() == tag
            if tag in ("td", "th"):
                found[-1].append("".join(texts))
            elif tag == "caption":
                found.insert(0, "".join(texts))
            texts.clear()

    Reader().feed(html)
    assert stack == []
    return found


def test_text_is_escaped():
    html = html_table("<script>", [("<b>", 1), ("a & b", None)], ("x<y", "z"))
    assert cells(html) == ["<script>", ["x<y", "z"], ["<b>", "1"], ["a & b", "None"]]
    assert "<script>" not in html
    assert "<b>" not in html


def test_columns_show_their_first_rows():
    columns = {"n": np.arange(12), "v": np.linspace(0, 1, 12), "s": np.array(["a", None] * 6)}
    title, head, *rows = cells(html_columns("Many", columns, most=3))
    assert title == "Many, 12 rows"
    assert head == ["n", "v", "s"]
    assert rows == [["0", "0", "a"], ["1", "0.090909", ""], ["2", "0.18182", "a"], ["…"] * 3]
    assert cells(html_columns("None", {})) == ["None, 0 rows"]


def test_a_run_and_its_bounds(trained):
    run = Run(trained)
    title, *rows = cells(run._repr_html_())
    assert title == f"Run {trained}"
    shown = dict(rows)
    assert shown["model"] == "planar on file"
    assert shown["state"] == "completed"
    nll = run.summary["nll"]
    assert shown["nll"] == f"{nll['mean']:.2f} ± {nll['standard_error']:.2f}"


def test_an_incomplete_run_and_one_of_an_odd_name(run_copy):
    odd = run_copy.with_name("<i>odd")
    shutil.move(run_copy, odd)
    assert "&lt;i&gt;odd" in Run(odd)._repr_html_()
    (odd / "config.toml").unlink()
    assert cells(Run(odd)._repr_html_())[1:] == [["model", "its files are incomplete"]]
    assert "its files are incomplete" in repr(Run(odd))


@pytest.fixture(scope="module")
def fitted():
    model = vaeflow.build((4, 4), latent=2)
    x = (np.random.RandomState(0).rand(30, 4, 4) > 0.5).astype(np.float32)
    return vaeflow.fit(model, x[:20], x[20:], epochs=3), x


def test_a_fit_shows_its_best_and_its_last_epoch(fitted):
    done, _ = fitted
    title, head, *rows = cells(done._repr_html_())
    assert title == repr(done)
    assert head[0] == "epoch"
    assert [row[0] for row in rows] == [str(done.progress.best_epoch), "3"]
    last = done.records[-1]
    assert float(rows[-1][head.index("validation ELBO")]) == round(last["validation/elbo"], 2)


def test_bounds_are_a_row_each(fitted):
    done, x = fitted
    bounds = vaeflow.evaluate(done.model, x, samples=3)
    title, *rows = cells(bounds._repr_html_())
    assert title == "Bounds"
    assert dict(rows)["nll"] == str(bounds.nll)
    assert "bits_per_dimension" in dict(rows)


def test_comparisons_codes_and_what_is_filled_in(trained, run_copy, people_run):
    found = vaeflow.compare(run_copy, proposal="q", samples=3)
    _, head, row = cells(found._repr_html_())
    assert head[0] == "group"
    assert row[head.index("NLL")] == str(found.groups[0].bound("nll"))
    codes = vaeflow.encode(trained, split="test")
    title, head, *rows = cells(codes._repr_html_())
    assert (title, len(rows)) == ("Codes, 6 rows", 6)
    assert head[-1] == "z2"
    filled = vaeflow.impute(people_run, samples=5)
    title, head, *rows = cells(filled._repr_html_())
    assert title == "Filled, 80 rows"
    assert {"age", "visits", "smokes", "site"} <= {*head}
