"""`diagnose_run`, the diagnosis of a run from Python."""

import json

import pytest

import vaeflow
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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"images": 0}, "images is 0: input should be greater than or equal to 1"),
        ({"images": -295}, "images is -295: input should be greater"),
        ({"split": "foo"}, "split is 'foo': input should be 'train', 'validation' or 'test'"),
        ({"weights": "Best"}, "weights is 'Best': input should be 'best' or 'last'"),
        ({"samples": 0}, "samples is 0: input should be greater than or equal to 2"),
        ({"temperatures": 1}, "temperatures is 1: input should be greater than or equal to 2"),
        ({"chains": 0}, "chains is 0: input should be greater than or equal to 1"),
        ({"simulated": 50}, "simulated is 50: input should be greater than or equal to 100"),
        ({"skip": ["x"]}, r"skip\.0 is 'x': input should be 'ais', 'gaps', 'calibration' or 'log"),
        ({"skip": "ais"}, "skip is 'ais': 'str' instances are not allowed"),
        ({"seed": None}, "seed is None: input should be a valid integer"),
    ],
)
def test_an_invalid_option_is_refused(trained, options, told, one_sentence):
    with pytest.raises(ConfigError, match=f"^diagnose: {told}") as caught:
        vaeflow.diagnose(trained, **options)
    one_sentence(str(caught.value))
