"""`diagnose_run`, the diagnosis of a run from Python."""

import json

import pytest

from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.diagnosis import RunDiagnosisOptions, diagnose_run
from vaeflow.runs.directory import Run

QUICK = {"images": 2, "samples": 50, "skip": ("ais", "gaps", "calibration")}


def test_diagnose_run_writes_files_and_names_the_run(trained, tmp_path):
    out = tmp_path / "out"
    bars = []

    def bar(total, what, done=0):
        from vaeflow.runtime.progress import no_bar

        bars.append((total, what))
        return no_bar(total, what)

    options = RunDiagnosisOptions(**QUICK, out=out)
    found = diagnose_run(Run.open(trained), load_plugins(), options, progress=bar)
    assert isinstance(found, Diagnosis)
    assert found.written == (out / "diagnosis.json",)  # three latent dimensions make no picture
    assert json.loads(found.written[0].read_text("utf-8")) == found.as_dict()
    assert (found.about["run"], found.about["split"]) == (trained.name, "test")
    assert len(found.elbo.values) == 2
    assert [finding.kind for finding in found.findings][-1] == "bounded-from-below"
    assert bars == [(2, "IWAE of the images")]
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        diagnose_run(Run.open(trained), load_plugins(), options)


def test_without_a_folder_nothing_is_written(trained, snapshot):
    before = snapshot(trained)
    found = diagnose_run(Run.open(trained), load_plugins(), RunDiagnosisOptions(**QUICK))
    assert found.written == ()
    assert snapshot(trained) == before
