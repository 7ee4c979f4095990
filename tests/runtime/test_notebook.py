"""Bars in a notebook: by IPython where it is, as text where it is not, and lines in a log."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

import vaeflow
from vaeflow.runtime import progress
from vaeflow.runtime.notebook import Line
from vaeflow.runtime.progress import bar_of, hidden, lines_of, terminal_bar


class Handle:
    """What IPython gives for an output that can be changed."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, data, raw):
        assert raw
        self.shown.append(data)


@pytest.fixture
def notebook(monkeypatch):
    """A notebook with an IPython that notes what each output shows."""
    outputs = []

    def display(data, *, raw, display_id):
        assert raw
        assert display_id
        outputs.append([data])
        return Handle(outputs[-1])

    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return outputs


@pytest.fixture
def model():
    return vaeflow.build((4, 4), latent=2, encoder=("mlp", {"hidden": (4,)}))


def progress_of(html):
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == "progress":
                found.append(float(dict(attributes)["value"]))

    Reader().feed(html)
    (value,) = found
    return value


def test_a_training_is_one_output_that_fills(notebook, model, capsys):
    x = (vaeflow.build((4, 4), latent=2).sample(20) > 0.5).float()
    vaeflow.fit(model, x, epochs=2)
    (shown,) = notebook
    values = [progress_of(one["text/html"]) for one in shown]
    assert (values[0], values[-1]) == (0, 1)
    assert values == sorted(values)
    assert "epoch 2/2" in shown[-1]["text/html"]
    assert shown[-1]["text/plain"].startswith("█" * 20)
    assert capsys.readouterr().out == ""


def test_an_evaluation_is_one_output_that_fills(notebook, model, capsys):
    x = (vaeflow.build((4, 4), latent=2).sample(20) > 0.5).float()
    vaeflow.evaluate(model, x, samples=2)
    (shown,) = notebook
    assert progress_of(shown[-1]["text/html"]) == 1
    assert "20 of 20 examples" in shown[-1]["text/plain"]
    vaeflow.evaluate(model, x, samples=2, progress=False)
    assert len(notebook) == 1
    assert capsys.readouterr().out == ""


def test_text_of_a_bar_is_escaped(notebook):
    line = Line()
    line.show(0.5, "<b>1 & 2</b>")
    assert "&lt;b&gt;1 &amp; 2&lt;/b&gt;" in notebook[0][0]["text/html"]


def test_without_ipython_the_bar_is_text(notebook, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython.display", None)  # cannot be imported
    line = Line()
    line.show(0, "begin")
    line.show(1, "end")
    line.close()
    assert capsys.readouterr().out == f"\r{'░' * 20} begin\r{'█' * 20} end\n"


def test_a_hidden_bar_is_not_shown_in_a_notebook(notebook):
    with hidden(), terminal_bar(3, "things") as advance:
        advance(3)
    assert notebook == []


def test_a_log_has_a_line_now_and_then(monkeypatch):
    clock, lines = iter([0.0, 4.0, 11.0, 12.0, 30.0]), []
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with lines_of(lines.append)(4000, "images", 0) as advance:
        for _ in range(4):
            advance(1000)
    assert lines == ["2,000 of 4,000 images", "4,000 of 4,000 images"]


def test_a_call_from_python_chooses_its_bar():
    assert bar_of(False) is progress.no_bar
    assert bar_of(None) is terminal_bar
    assert bar_of(True) not in (progress.no_bar, terminal_bar)
