"""From a table to a trained model, and to everything that it is good for, in one script.

    python examples/wines.py [FOLDER]

The table is scikit-learn's: thirteen measurements of 178 wines of three cultivars. A few cells are
emptied first, as tables have gaps. All files go into FOLDER, by default "wines". The script takes a
minute on two cores, and needs `pip install 'vaeflow[export]'` for its last step.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pyro
from pyro.infer import Predictive
from pyro.infer.importance import psis_diagnostic
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import vaeflow
import vaeflow.sklearn
from vaeflow.pyro import as_pyro


def main(folder: Path) -> None:
    """Go the whole way. Each step is one call; each prints what it found."""
    folder.mkdir(parents=True)
    table = write_table(folder / "wines.csv")
    run = train(table, folder / "run")
    codes(run, folder)
    scores(run)
    filled_gaps(run, table, folder)
    as_an_estimator()
    in_pyro(run)
    as_a_program(run, folder)


def write_table(path: Path) -> Path:
    """Write the wines as a CSV file with an id, a label, and one cell in fifty empty."""
    wines = load_wine(as_frame=True)
    frame = wines.data.mask(np.random.default_rng(0).random(wines.data.shape) < 0.02)
    frame.insert(0, "bottle", [f"W{i:03}" for i in range(len(frame))])
    frame["cultivar"] = wines.target_names[wines.target]
    frame.to_csv(path, index=False)
    return path


def train(table: Path, run_dir: Path) -> "vaeflow.runs.directory.Run":
    """Train on the measurements. The cultivar is no part of x, and stays beside it as a label."""
    run = vaeflow.train(
        run_dir,
        dataset=("table", {"path": table, "drop": ["cultivar"]}),
        likelihood="columns",
        posterior="planar",
        latent=2,
        epochs=150,
        batch_size=20,
    )
    print(f"NLL of the test wines: {run.summary['nll']['mean']:.2f} nats")
    return run


def codes(run: "vaeflow.runs.directory.Run", folder: Path) -> None:
    """Write the code of each wine, and the picture of all codes in the colours of the cultivars."""
    found = vaeflow.encode(run)
    print(f"{len(found)} codes of {found.z.shape[1]} dimensions")
    vaeflow.latent(run, label="cultivar").save(folder / "codes.png")


def scores(run: "vaeflow.runs.directory.Run") -> None:
    """Name the strangest wine."""
    found = vaeflow.score(run)
    strangest = found.least_likely(1)[0]
    print(f"the strangest wine is {found.beside['bottle'][strangest]}: "
          f"log p(x) = {found.log_p[strangest]:.1f} nats")  # fmt: skip


def filled_gaps(run: "vaeflow.runs.directory.Run", table: Path, folder: Path) -> None:
    """Fill in the empty cells, each with its spread."""
    vaeflow.impute(run, table).save(folder / "filled.csv")


def as_an_estimator() -> None:
    """Classify the cultivars from codes that never saw them, by scikit-learn."""
    wines = load_wine()
    steps = (
        vaeflow.sklearn.VAE("planar", latent=4, epochs=100, random_state=0),
        LogisticRegression(),
    )
    accuracy = cross_val_score(make_pipeline(*steps), wines.data, wines.target, cv=3)
    print(f"cultivars from the codes: {accuracy.mean():.0%} right")


def in_pyro(run: "vaeflow.runs.directory.Run") -> None:
    """Use the model as Pyro's: predict by its guide, and ask how good the guide is."""
    pyro.set_rng_seed(0)
    model, guide = as_pyro(run.model)
    x = run.data().examples("test").read()
    drawn = Predictive(pyro.poutine.uncondition(model), guide=guide, num_samples=100)(x)
    k = psis_diagnostic(model, guide, x[:1], num_particles=500)
    print(f"predictions of shape {tuple(drawn['x'].shape)}; k̂ of the first wine is {k:.2f}")


def as_a_program(run: "vaeflow.runs.directory.Run", folder: Path) -> None:
    """Write the decoder as a program that runs without vaeflow and torch."""
    vaeflow.export(run, folder / "decoder.onnx", part="decoder")
    session = onnxruntime.InferenceSession(folder / "decoder.onnx")
    z = np.zeros((1, 2), np.float32)
    outputs = session.run(None, {session.get_inputs()[0].name: z})
    print(f"the wine at the origin: {np.round(outputs[0][0, :3], 2)} …")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "wines"))
