"""The face: the functions and families that `import vaeflow` offers."""

import io
import pydoc
import shutil

import numpy as np
import pytest
import torch

import vaeflow
from vaeflow import likelihoods, posteriors
from vaeflow.config.settings import Config, Settings
from vaeflow.errors import CheckpointError, ConfigError, DataError, StorageError
from vaeflow.runs.directory import Run
from vaeflow.training import Observer

SMALL = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]})}
SHAPE = (1, 4, 4)


@pytest.fixture(autouse=True)
def words_of_the_shell():
    """Read messages as Python gives them, with arguments instead of flags."""


@pytest.fixture
def x():
    return np.random.default_rng(0).random((60, *SHAPE))  # grey, float64


@pytest.fixture
def model():
    return vaeflow.build(SHAPE, latent=2, posterior="planar", **SMALL)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("face") / "run"
    return vaeflow.train(
        path, posterior="planar", dataset="digits", epochs=2, latent=2, tensorboard=False, **SMALL
    )


def test_dir_lists_only_the_face():
    assert dir(vaeflow) == sorted(dir(vaeflow))
    functions = {
        "build", "compare", "curves", "diagnose", "encode", "evaluate", "export", "fit", "impute",
        "interpolate", "latent", "load", "save", "score", "train", "traverse", "tune",
        "doctor", "pull", "push", "tensorboard",
    }  # fmt: skip
    families = {
        "datasets", "decoders", "encoders", "likelihoods", "objectives", "posteriors", "priors",
    }  # fmt: skip
    assert set(dir(vaeflow)) == functions | families | {"VAE", "hookimpl", "__version__"}
    for name in dir(vaeflow):
        assert getattr(vaeflow, name) is not None


@pytest.mark.parametrize(
    ("function", "settings"), [(vaeflow.fit, Settings), (vaeflow.train, Config)]
)
def test_help_lists_every_setting_with_its_meaning(function, settings):
    told = pydoc.render_doc(function, renderer=pydoc.plaintext)
    for name, field in settings.model_fields.items():
        assert f"{name}=" in told or f"{name}:" in told
        if field.description:
            assert field.description in " ".join(told.split())


class TestTrain:
    def test_a_run_equals_one_from_the_shell(self, run, cli, tmp_path):
        shell = tmp_path / "shell"
        words = ["--posterior", "planar", "--dataset", "digits", "--latent", "2"]
        small = ["--encoder.hidden", "8", "--decoder.hidden", "8", "--no-tensorboard"]
        assert cli("train", *words, *small, "--epochs", "2", "--run-dir", shell).code == 0
        theirs = Run(shell)
        files = [
            {p.relative_to(each.path).as_posix() for p in each.path.rglob("*")}
            for each in (run, theirs)
        ]
        assert files[0] == files[1]
        timeless = [{k: v for k, v in r.summary.items() if k != "seconds"} for r in (run, theirs)]
        assert timeless[0] == timeless[1]
        assert len(run.metrics) == 2

    def test_a_runs_model_has_the_best_weights_and_no_gradients(self, run):
        best = run.checkpoint().tensors["best"]
        assert all(torch.equal(best[k], v) for k, v in run.model.state_dict().items())
        assert not run.model.generate(torch.zeros(1, 1, 2)).mean.requires_grad

    def test_the_repr_names_parts_data_and_state(self, run):
        assert "planar on digits, completed, epoch 2, elbo -" in repr(run)
        assert repr(Run(run.path / "none")).endswith("its files are incomplete)")

    def test_an_existing_run_dir_is_refused(self, run):
        with pytest.raises(ConfigError, match=r'run_dir="\S+": it exists'):
            vaeflow.train(run.path)


class TestBuild:
    def test_build_gives_the_initial_weights_of_a_run(self, run):
        data = vaeflow.datasets.Digits().load()
        ours = vaeflow.build(data.data_shape, latent=2, posterior="planar", **SMALL)
        fitted = vaeflow.fit(ours, data.train, validation=data.validation, epochs=2, device="cpu")
        pairs = zip(fitted.records, run.metrics, strict=True)
        assert all(a["train/elbo"] == b["train/elbo"] for a, b in pairs)

    def test_build_takes_options_of_parts(self):
        model = vaeflow.build(
            SHAPE, posterior=("planar", {"steps": 3}), likelihood=("gaussian", {"scale": "shared"})
        )
        assert model.posterior.steps == 3
        assert isinstance(model.likelihood, likelihoods.Gaussian)

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({"posterior": "plnar"}, r'posterior="plnar": unknown posterior \(did you mean'),
            ({"posterior": ("planar", {"step": 1})}, "the posterior's option step: unknown option"),
            ({"posterior": 3}, "posterior is 3, but a name"),
            ({"posterio": "planar"}, r"unknown argument 'posterio' \(did you mean 'posterior'"),
            ({"data_shape": 28}, "data_shape is 28, but the shape of one example"),
            ({"data_shape": "784"}, "data_shape is '784', but"),
            ({"data_shape": (2.7,)}, "data_shape is"),
            ({"posterior": ("planar", {3: 4})}, "posterior is"),
            ({"latent": 0}, "latent: got 0"),
        ],
    )
    def test_an_error_names_the_wrong_argument(self, arguments, told, one_sentence):
        with pytest.raises(ConfigError, match=told) as caught:
            vaeflow.build(**{"data_shape": SHAPE, **arguments})
        assert "--" not in str(caught.value)

    def test_a_part_class_works_alone(self):
        q = posteriors.Planar(latent=10, features=500)(torch.zeros(2, 500))
        assert q.rsample((3,)).shape == (3, 2, 10)


class TestFit:
    def test_fit_leaves_the_best_weights_in_evaluation_mode(self, model, x):
        fitted = vaeflow.fit(model, x, validation=x[:20], epochs=3, lr=0.05)
        assert not model.training
        assert fitted.model is model
        assert all(torch.equal(fitted.best[k], v) for k, v in model.state_dict().items())
        assert repr(fitted).startswith("Fitted(completed after 3 epochs, best validation ELBO -")

    def test_validation_data_is_converted(self, model, x):
        big_endian, long = x[:9].astype(">f4"), x[:9].astype(np.longdouble)
        reversed_rows = x[:9][::-1]
        reversed_rows.flags.writeable = False
        for validation in (
            x[:9], torch.from_numpy(x[:9]), (x[:9] > 0.5), big_endian, long, reversed_rows,
        ):  # fmt: skip
            fitted = vaeflow.fit(model, x, validation=validation, epochs=1)
            assert "validation/elbo" in fitted.records[0]

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ([np.zeros(SHAPE)], "x is a list, but one NumPy array"),
            (torch.utils.data.DataLoader([1]), "x is a DataLoader, but one NumPy array"),
            (np.zeros((3, 16)), r"x has shape \(3, 16\), but the model takes \(N, 1, 4, 4\)"),
            (np.zeros(SHAPE), r"write x\[None\] if x is a single example, or build the model with"),
            (np.full((3, *SHAPE), "a"), "but numbers are expected"),
            (np.zeros((3, *SHAPE), complex), "complex numbers"),
            (None, "x is a NoneType"),
            (np.zeros((0, *SHAPE)), "split is empty"),
            (np.full((3, *SHAPE), 7.0), "divide it by 7 "),
            (np.full((3, *SHAPE), 239, "uint8"), "divide it by 255 "),
            (np.full((3, *SHAPE), np.nan), "nan"),
            (np.ma.masked_greater(np.zeros((3, *SHAPE)), 1), "masked array"),
            (np.zeros((3, *SHAPE), "m8[s]"), "array of timedelta64"),
            (torch.zeros(3, *SHAPE, device="meta"), "no ordinary tensor"),
            (torch.zeros(3, 16).to_sparse(), "no ordinary tensor"),
        ],
    )
    def test_invalid_data_is_refused(self, model, wrong, told):
        with pytest.raises(DataError, match=told) as caught:
            vaeflow.fit(model, wrong, epochs=1)
        assert "--" not in str(caught.value)

    def test_invalid_validation_data_is_named(self, model, x):
        with pytest.raises(DataError, match="validation is a list"):
            vaeflow.fit(model, x, validation=[1])

    @pytest.mark.parametrize(
        ("observers", "told"),
        [
            ([print], "but an object of a subclass of vaeflow.training.Observer"),
            ([Observer], r"observers\[0\] is Observer, but an object"),
            (Observer(), r"write observers=\[…\]"),
        ],
    )
    def test_an_invalid_observer_is_refused(self, model, x, observers, told):
        with pytest.raises(ConfigError, match=told):
            vaeflow.fit(model, x, epochs=1, observers=observers)

    def test_an_invalid_setting_is_named_as_an_argument(self, model, x):
        with pytest.raises(ConfigError, match="lr: got -1, expected number > 0"):
            vaeflow.fit(model, x, lr=-1)
        with pytest.raises(ConfigError, match=r"epoch: unknown option \(did you mean 'epochs'"):
            vaeflow.fit(model, x, epoch=3)

    def test_another_module_than_a_vae_is_refused(self, x):
        with pytest.raises(ConfigError, match=r"model is a Linear, but a vaeflow\.VAE"):
            vaeflow.fit(torch.nn.Linear(1, 1), x)

    def test_an_objective_is_chosen_by_name(self, model, x):
        objective = ("iwae", {"samples": 3})
        assert vaeflow.fit(model, x, objective=objective, epochs=1).objective.name == "vaeflow/iwae"
        with pytest.raises(ConfigError, match='the objective\'s option kl="sampled"'):
            vaeflow.fit(model, x, objective=("elbo", {"kl": "analytic"}), epochs=1)

    def test_the_number_of_threads_is_restored(self, model, x):
        before = torch.get_num_threads()
        vaeflow.fit(model, x, epochs=1, threads=before + 1)
        assert torch.get_num_threads() == before

    def test_progress_is_shown_on_request(self, model, x, capsys):
        vaeflow.fit(model, x, epochs=2, progress=True)
        assert capsys.readouterr().out.count("epoch ") == 2
        vaeflow.fit(model, x, epochs=1)
        assert capsys.readouterr().out == ""

    def test_a_notebook_shows_a_bar(self, model, x, capsys, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "ipykernel", object())
        vaeflow.fit(model, x, epochs=2)
        out = capsys.readouterr().out
        assert out.startswith("\r░")
        assert out.rstrip().split("\r")[-1].startswith("█" * 20 + " epoch 2/2")


class Tee:
    """A stream that is no file, as loggers put in place of the standard output."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


class TestSurroundings:
    """The face leaves its caller's world as it is, and does not depend on it."""

    @pytest.mark.parametrize("stream", [Tee(), None, "closed"])
    def test_the_standard_output_may_be_anything(self, model, x, monkeypatch, stream):
        if stream == "closed":
            stream = io.StringIO()
            stream.close()
        monkeypatch.setattr("sys.stdout", stream)
        for progress in (None,) if isinstance(stream, io.StringIO) else (None, True):
            assert vaeflow.fit(model, x, epochs=1, progress=progress).status == "completed"

    def test_loading_leaves_the_generator(self, run):
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        vaeflow.load(run.path)
        assert torch.equal(torch.rand(1), expected)

    def test_gradients_are_on_within_a_training(self, model, x):
        with torch.no_grad():
            assert vaeflow.fit(model, x, epochs=1).status == "completed"
        with torch.inference_mode(), pytest.raises(ConfigError, match="train outside of it"):
            vaeflow.fit(model, x, epochs=1)

    def test_a_run_is_found_after_a_change_of_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        made = vaeflow.train("here", epochs=1, latent=2, tensorboard=False, **SMALL)
        monkeypatch.chdir("/")
        assert made.summary
        assert made.model.sample(1).shape == (1, 1, 8, 8)

    @pytest.mark.parametrize("observers", [None, Observer, Observer(), [object()], [print]])
    def test_a_wrong_observer_leaves_no_directory(self, tmp_path, observers):
        with pytest.raises(ConfigError, match="observer"):
            vaeflow.train(tmp_path / "run", epochs=1, observers=observers)
        assert not (tmp_path / "run").exists()


class TestEvaluate:
    def test_figures_have_standard_errors(self, model, x):
        bounds = vaeflow.evaluate(model, x, samples=20)
        assert bounds.nll.mean < -bounds.elbo.mean
        assert bounds.nll.standard_error > 0
        assert vaeflow.evaluate(model, x, samples=20) == bounds
        assert vaeflow.evaluate(model, x, samples=20, chunk=7).nll.mean == pytest.approx(
            bounds.nll.mean
        )

    def test_data_outside_the_support_is_refused(self, model, x):
        with pytest.raises(DataError, match=r"x\[0, 0, 0, 0\] is .*, which .* cannot score"):
            vaeflow.evaluate(model, x * 7 - 3)

    def test_grey_data_is_binarized_as_in_the_shell(self, run, cli):
        data = vaeflow.datasets.Digits().load()
        bounds = vaeflow.evaluate(run.model, data.test, samples=100)
        assert bounds.nll.mean == pytest.approx(run.summary["nll"]["mean"], abs=1e-4)


class TestTensors:
    def test_tensors_have_no_gradients(self, model, x):
        model.requires_grad_(True)
        for found, shape in (
            (model.sample(5), (5, *SHAPE)),
            (model.reconstruct(x), (60, *SHAPE)),
            (model.encode(x), (60, 2)),
        ):
            assert found.shape == shape
            assert not found.requires_grad
            assert found.numpy().dtype == np.float32

    def test_draws_are_binary_and_means_are_not(self, model):
        assert set(model.sample(20, mean=False).unique().tolist()) <= {0.0, 1.0}
        assert len(model.sample(20).unique()) > 2

    def test_the_code_of_a_gaussian_is_its_mean(self, x):
        model = vaeflow.build(SHAPE, latent=2, **SMALL)
        rows = torch.from_numpy(x).float()
        assert torch.equal(model.encode(x), model.infer(rows).mean.detach())

    def test_the_code_of_a_flow_is_the_mean_of_its_draws(self, model, x):
        torch.manual_seed(0)
        few, many = model.encode(x[:5], draws=4000), model.encode(x[:5], draws=4000)
        assert torch.allclose(few, many, atol=0.1)
        assert not torch.equal(few, many)

    def test_the_mode_of_each_module_is_restored(self, model, x):
        model.train()
        model.encoder.eval()
        model.encode(x)
        assert model.training
        assert not model.encoder.training

    def test_batches_keep_the_order_of_the_rows(self, x):
        model = vaeflow.build(SHAPE, latent=2, **SMALL)
        many = np.tile(x, (40, 1, 1, 1))
        assert torch.allclose(model.encode(many)[-60:], model.encode(x), atol=1e-6)


class TestSave:
    def test_the_outcome_is_saved_and_not_a_later_state_of_the_model(self, model, x, tmp_path):
        first = vaeflow.fit(model, x, epochs=1)
        vaeflow.fit(model, x, epochs=3, lr=0.1)
        vaeflow.save(first, tmp_path / "first")
        loaded = vaeflow.load(tmp_path / "first").state_dict()
        assert all(torch.equal(first.best[k], v) for k, v in loaded.items())

    def test_an_exchanged_part_is_refused(self, model, x, tmp_path):
        model.decoder = vaeflow.decoders.MLP(2, SHAPE, hidden=(5, 5))
        with pytest.raises(CheckpointError, match="of another model"):
            vaeflow.save(vaeflow.fit(model, x, epochs=1), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_failure_leaves_nothing(self, model, x, tmp_path, monkeypatch):
        fitted = vaeflow.fit(model, x, epochs=1)

        def refuse(*args):
            raise StorageError("the disk is full")

        monkeypatch.setattr("vaeflow.runs.save.write_metrics", refuse)
        with pytest.raises(StorageError, match="the disk is full"):
            vaeflow.save(fitted, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_saved_fit_loads_with_the_same_weights(self, model, x, tmp_path):
        fitted = vaeflow.fit(model, x, validation=x[:9], epochs=2)
        run = vaeflow.save(fitted, tmp_path / "mine")
        loaded = vaeflow.load(tmp_path / "mine")
        ours = model.state_dict()
        assert all(torch.equal(ours[k], v) for k, v in loaded.state_dict().items())
        assert [r["epoch"] for r in run.metrics] == [1, 2]
        assert "planar on given, completed, epoch 2" in repr(run)

    def test_nothing_is_overwritten(self, model, x, tmp_path):
        fitted = vaeflow.fit(model, x, epochs=1)
        with pytest.raises(ConfigError, match="exists, and nothing is overwritten"):
            vaeflow.save(fitted, tmp_path)

    def test_save_refuses_objects_without_a_name(self, model, x, tmp_path):
        unnamed = vaeflow.VAE(*model.children())
        for given, told in (
            (vaeflow.fit(unnamed, x, epochs=1), "built of objects"),
            (vaeflow.fit(model, x, epochs=1, objective=vaeflow.objectives.IWAE()), "its name"),
            (model, "VAE cannot be saved"),
        ):
            with pytest.raises(ConfigError, match=told):
                vaeflow.save(given, tmp_path / "run")
            assert not (tmp_path / "run").exists()

    def test_the_shell_names_the_missing_data(self, model, x, tmp_path, cli):
        vaeflow.save(vaeflow.fit(model, x, epochs=1), tmp_path / "run")
        assert cli("sample", tmp_path / "run", "--out", tmp_path / "s.png").code == 0
        for command in ("evaluate", "resume"):
            done = cli(command, tmp_path / "run")
            assert done.code == 3
            assert "fitted in Python to arrays that it does not hold" in done.err

    def test_a_loaded_model_fits_after_requires_grad(self, model, x, tmp_path):
        vaeflow.save(vaeflow.fit(model, x, epochs=1), tmp_path / "run")
        loaded = vaeflow.load(tmp_path / "run")
        with pytest.raises(ConfigError, match=r"requires_grad_\(True\)"):
            vaeflow.fit(loaded, x, epochs=1)
        assert vaeflow.fit(loaded.requires_grad_(True), x, epochs=1).status == "completed"


def test_runs_are_compared_and_diagnosed(run, tmp_path):
    other = vaeflow.train(
        tmp_path / "gaussian", dataset="digits", epochs=2, latent=2, tensorboard=False, **SMALL
    )
    found = vaeflow.compare(run.path, other.path, samples=20)
    assert found.versus["planar"].baseline == "identity"
    diagnosis = vaeflow.diagnose(run.path, images=5, samples=50, skip=("ais", "gaps"))
    assert diagnosis.findings


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vaeflow.nothing


def test_compare_writes_its_report_to_out(run, tmp_path):
    vaeflow.compare(run.path, samples=20, out=str(tmp_path / "page"))
    assert (tmp_path / "page" / "report.md").exists()


def test_invalid_options_are_named_as_arguments(run, tmp_path):
    with pytest.raises(ConfigError, match=r"diagnose: unknown option 'image' \(did you mean"):
        vaeflow.diagnose(run, image=3)
    with pytest.raises(ConfigError, match="compare: samples is 'many': input should be"):
        vaeflow.compare(run, samples="many")
    with pytest.raises(ConfigError, match="give the directories of runs"):
        vaeflow.compare()
    fresh = shutil.copytree(
        run.path, tmp_path / "fresh", ignore=shutil.ignore_patterns("evaluations")
    )
    with pytest.raises(ConfigError, match=r'give proposal="laplace" and samples=500, and'):
        vaeflow.compare(fresh)


@pytest.mark.parametrize("function", ["train", "load", "compare", "diagnose"])
def test_something_else_than_a_path_is_refused(function, model, x):
    for given in (model, x):
        with pytest.raises(ConfigError, match=r"is no run directory: give its path"):
            getattr(vaeflow, function)(given)


def test_an_array_in_place_of_a_name_is_not_printed(x):
    with pytest.raises(ConfigError, match="arrays go to vaeflow") as caught:
        vaeflow.train(dataset=x)
    assert len(str(caught.value)) < 200


def test_levels_of_unscaled_data_are_told_by_their_scale(model, x):
    levels = (x * 255).round()
    gaussian = vaeflow.build(SHAPE, latent=2, likelihood="gaussian", **SMALL)
    with pytest.raises(DataError, match="divide the data by 255"):
        vaeflow.fit(gaussian, levels, dequantize=256, epochs=1)
