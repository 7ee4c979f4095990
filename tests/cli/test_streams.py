"""Standard output: of any encoding, and after its reader has left."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import pytest

import vaeflow
from vaeflow.cli import streams
from vaeflow.cli.streams import in_ascii, lasting_streams

ROOT = Path(vaeflow.__file__).parent


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("β ≤ 1 ± σ²", "beta <= 1 +/- sigma^2"),
        ("KL(q‖p) − λ", "KL(q||p) - lambda"),
        ("Σ, Λ → ∞ …", "Sigma, Lambda -> inf ..."),
        ("√(wᵀu)", "sqrt(w^Tu)"),
        ("Vallée, Tromsø, β̂", "Vallee, Tromso, beta"),
        ("p\udcff.npy", r"p\xff.npy"),
        ("日本", "??"),
    ],
)
def test_a_character_is_spelled_in_ascii(text, told):
    assert in_ascii(text) == told


def test_no_character_of_ours_becomes_a_question_mark():
    ours = {c for path in ROOT.rglob("*.py") for c in path.read_text("utf-8") if c > "\x7f"}
    assert len(ours) > 50
    assert {c for c in ours if "?" in in_ascii(c)} == set()


@pytest.fixture
def onto():
    """Write a text to the end of a pipe, in an encoding, and return the bytes."""

    def write(text, encoding):
        reader, writer = os.pipe()
        with open(writer, "w", encoding=encoding) as pipe, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", pipe)
            with lasting_streams():
                sys.stdout.write(text)
            assert sys.stdout is pipe
        with open(reader, "rb") as pipe:
            return pipe.read()

    return write


@pytest.mark.parametrize(
    ("encoding", "told"),
    [("ascii", b"beta +/- 1"), ("cp1252", b"beta \xb1 1"), ("utf-8", "β ± 1".encode())],
)
def test_a_stream_keeps_what_its_encoding_has(onto, encoding, told):
    assert onto("β ± 1", encoding) == told


def test_a_reader_may_leave(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", closefd=False) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with lasting_streams():
            for _ in range(3):
                sys.stdout.write("to nobody\n")
                sys.stdout.flush()
    os.close(writer)


def test_another_failure_is_not_hidden(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with lasting_streams():
            sys.stdout.write("x\n")
            with pytest.raises(OSError) as caught:  # noqa: PT011, its number is the point
                sys.stdout.flush()
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_stream_that_is_no_file_stays(monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    with lasting_streams():
        assert sys.stdout is stream


def test_without_the_wrapper_the_reader_takes_the_writer_with_it(monkeypatch):
    monkeypatch.setattr(streams, "_GONE", ())
    with pytest.raises(BrokenPipeError):
        test_a_reader_may_leave(monkeypatch)
