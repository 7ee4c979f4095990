"""`diagnose_run`, the diagnosis of a run from Python."""

import json

import pytest

import vaeflow
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.errors import ConfigError
from vaeflow.plugins.discovery import Plugin
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs import diagnosis as diagnoses
from vaeflow.runs.diagnosis import RunDiagnosis, RunDiagnosisOptions, diagnose_run
from vaeflow.runs.directory import Run

QUICK = {"images": 2, "samples": 50, "skip": ("ais", "gaps", "calibration")}


@pytest.fixture
def run(run_copy):
    return Run.open(run_copy)


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


def test_diagnose_run_writes_files_and_names_the_run(run, plugins, tmp_path):
    out = tmp_path / "out"
    bars = []

    def bar(total, what, done=0):
        from vaeflow.runtime.progress import no_bar

        bars.append((total, what))
        return no_bar(total, what)

    options = RunDiagnosisOptions(**QUICK, out=out)
    found = diagnose_run(run, plugins, options, progress=bar)
    assert isinstance(found, Diagnosis)
    assert found.written == (out / "diagnosis.json",)  # three latent dimensions make no picture
    assert json.loads(found.written[0].read_text("utf-8")) == found.as_dict()
    assert (found.about["run"], found.about["split"]) == (run.path.name, "test")
    assert len(found.elbo.values) == 2
    assert [finding.kind for finding in found.findings][-1] == "bounded-from-below"
    assert bars == [(2, "IWAE of the images")]
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        diagnose_run(run, plugins, options)


def kinds(stages):
    return [*stages.found], [stage for stage in stages.kept if stage not in stages.found]


def test_the_run_directory_keeps_the_stages_and_nothing_else_is_written(run, plugins, snapshot):
    before = snapshot(run.path)
    first = RunDiagnosis.of(run, plugins, RunDiagnosisOptions(**QUICK))
    found = first.measure()
    assert found.written == ()
    names = ["IWAE of the images", "log-dets", "active units"]
    assert kinds(first.stages) == ([], names)
    new = set(snapshot(run.path)) - set(before)
    assert {name.rpartition("-")[0] for name in new - {"diagnoses"}} == {
        "diagnoses/iwae-of-the-images",
        "diagnoses/log-dets",
        "diagnoses/active-units",
    }
    assert {name: of for name, of in snapshot(run.path).items() if name not in new} == before
    second = RunDiagnosis.of(run, plugins, RunDiagnosisOptions(**QUICK))
    assert second.measure().as_dict() == found.as_dict()
    assert kinds(second.stages) == (names, [])
    again = RunDiagnosis.of(run, plugins, RunDiagnosisOptions(**QUICK, again=True))
    assert again.measure().as_dict() == found.as_dict()
    assert kinds(again.stages) == ([], names)


def test_a_model_of_other_options_is_refused(run, plugins):
    diagnose_run(run, plugins, RunDiagnosisOptions(**QUICK))
    config = (run.path / "config.toml").read_text("utf-8")
    changed = config.replace('activation = "relu"', 'activation = "silu"')  # and no weight
    (run.path / "config.toml").write_text(changed, "utf-8")
    with pytest.raises(ConfigError, match=r"encoder\.activation: relu → silu"):
        RunDiagnosis.of(run, plugins, RunDiagnosisOptions(**QUICK))


@pytest.mark.parametrize("how", ["plugin", "weights", "images", "version"])
def test_figures_of_another_model_are_not_used(run, plugins, monkeypatch, how):
    diagnose_run(run, plugins, RunDiagnosisOptions(**QUICK))
    options = {}
    if how == "plugin":
        plugins = load_plugins()
        plugins.found.append(Plugin("x", "vaeflow-x", "1", "x", None, state="ok"))
    elif how == "weights":
        load = diagnoses.load

        def other(*args, **kwargs):
            model = load(*args, **kwargs)
            next(model.decoder.parameters()).data.view(-1)[0] += 1e-3
            return model

        monkeypatch.setattr(diagnoses, "load", other)
    elif how == "images":
        options = {"split": "validation"}
    else:
        monkeypatch.setattr("vaeflow.diagnosis.stages.__version__", "9.9")
    other = RunDiagnosis.of(run, plugins, RunDiagnosisOptions(**QUICK, **options))
    other.measure()
    assert other.stages.found == []


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
