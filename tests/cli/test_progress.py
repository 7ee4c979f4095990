"""The progress of a training: a bar for a terminal, a line per epoch for a log."""

from __future__ import annotations

import pytest


@pytest.fixture
def words(tiny, grey_file, here):
    data = ("--dataset", "file", "--dataset.path", grey_file)
    return ("train", *tiny, "--no-tensorboard", *data, "--epochs", 3)


def test_a_log_shows_a_plain_line_per_epoch(cli, words):
    lines = cli(*words).out.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line.split("  ")[0] for line in epochs] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    for line in epochs:
        for figure in ("loss", "train ELBO", "validation ELBO", "KL", "images/s"):
            assert figure in line
    assert not any("\x1b" in line for line in lines)


def test_a_terminal_shows_a_bar_that_fills(cli, words, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    done = cli(*words, terminal=True)
    assert done.code == 0, done.err
    assert "━" * 24 in done.out
    assert "epoch 3/3" in done.out
    assert "validation ELBO" in done.out
    assert "NLL, proposal laplace" in done.out
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h") > 0  # the cursor is back


def test_a_failed_training_restores_the_cursor(cli, words, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    done = cli(*words, "--lr", "1e30", terminal=True)
    assert done.code == 5
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h") > 0


def test_an_epoch_shows_beta_while_it_rises(cli, words):
    lines = cli(*words, "--objective.warmup", 2).out.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert ["β 0.50" in line for line in epochs] == [True, False, False]
