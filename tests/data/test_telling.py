"""What was told of data once is not told again; what is new is."""

from __future__ import annotations

import logging

from vaeflow import datasets
from vaeflow.data.telling import told_before


def test_lines_on_reading_are_left_out_where_they_were_told_before(tmp_path, caplog):
    table = tmp_path / "people.csv"
    rows = [f"name{i},{i % 7}.5,{i % 3}.25" for i in range(40)]
    table.write_text("\n".join(["id,a,b", *rows]))
    with told_before(), caplog.at_level("INFO", "vaeflow"):
        datasets.Table(path=table).load()
        logging.getLogger("vaeflow").warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]
    caplog.clear()
    datasets.Table(path=table).load()
    assert "left out id" in caplog.text


def test_a_run_reads_its_own_data_in_silence(cli, tiny, tmp_path):
    table = tmp_path / "people.csv"
    rows = [f"name{i},{i % 7}.5,{i % 3}.25" for i in range(40)]
    table.write_text("\n".join(["id,a,b", *rows]))
    words = ("--dataset", "table", "--dataset.path", table, "--likelihood", "columns")
    first = cli("train", *tiny, *words, "--no-tensorboard", "--run-dir", tmp_path / "run")
    assert "left out id" in first.err
    later = cli("encode", tmp_path / "run", "--out", tmp_path / "codes.csv")
    assert (later.code, later.err) == (0, "")
