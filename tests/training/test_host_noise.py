"""Parts that draw from Python's or NumPy's generator: a resumed run repeats their numbers."""

import random

import numpy as np
import pytest
from graph_stand_in import Again
from small_vae import images, model

from vaeflow.config.settings import Settings
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.runtime.noise import Noise
from vaeflow.training import Observer, prepare_trainer
from vaeflow.training.acceleration.captured import Captured
from vaeflow.training.checkpoints import CheckpointStore

DRAWS = {
    "Python": lambda: random.random() + random.gauss(0, 1),
    "NumPy": lambda: np.random.rand() + np.random.randn(),
}


def trainer(draw, **settings):
    class Noisy(Identity):
        """Shifts its features by a number of the host."""

        def forward(self, h):
            return super().forward(h + 0.1 * draw())

    settings = {"epochs": 3, "batch_size": 10, "device": "cpu", **settings}
    return prepare_trainer(
        model(Noisy),
        images(38),
        images(8, 1),
        binarization="dynamic",
        settings=Settings(**settings),
    )


def outcome(t, **options):
    records = t.run(**options).records
    return [r["train/elbo"] for r in records], [r["validation/elbo"] for r in records]


@pytest.mark.parametrize("stop_at", [1, 4, 6, 11])
@pytest.mark.parametrize("name", DRAWS)
def test_a_part_that_draws_from_another_generator_is_resumed_exactly(tmp_path, name, stop_at):
    whole = outcome(trainer(DRAWS[name]))
    first, store = trainer(DRAWS[name]), CheckpointStore(tmp_path / "c")
    stopped = outcome(first, store=store, stop=lambda: first.progress.step == stop_at)
    random.seed(99), np.random.seed(99)  # a new process has other global generators
    second = trainer(DRAWS[name])
    second.restore(store.latest())
    resumed = outcome(second)
    assert [a + b for a, b in zip(stopped, resumed, strict=True)] == [*whole]


def test_without_the_saved_states_the_run_goes_on_otherwise(tmp_path, monkeypatch):
    """The test above would see it."""
    whole = outcome(trainer(DRAWS["NumPy"]))
    states = Noise.states
    monkeypatch.setattr(
        Noise, "states", lambda self: {k: v for k, v in states(self).items() if k == "cpu"}
    )
    first, store = trainer(DRAWS["NumPy"]), CheckpointStore(tmp_path / "c")
    outcome(first, store=store, stop=lambda: first.progress.step == 4)
    second = trainer(DRAWS["NumPy"])
    second.restore(store.latest())
    assert outcome(second)[0] != whole[0][1:]


@pytest.mark.parametrize("name", DRAWS)
def test_watching_a_run_changes_none_of_its_numbers(name):
    class Restless(Observer):
        def epoch(self, record, model):
            DRAWS[name]()

    alone, watched = trainer(DRAWS[name]), trainer(DRAWS[name])
    assert outcome(watched, observers=[Restless()]) == outcome(alone)


@pytest.mark.parametrize("name", DRAWS)
def test_a_number_of_the_host_is_never_frozen_in_a_graph(name, caplog):
    one, again = trainer(DRAWS[name]), Again()
    one.step = Captured(one.eager, 10, one.blame, again)
    assert outcome(one) == outcome(trainer(DRAWS[name]))
    assert again.rehearsals == again.repeats == 0
    assert f"a part draws from {name}'s generator, whose numbers a graph would" in caplog.text
    caplog.clear()
    plain, again = trainer(float), Again()
    plain.step = Captured(plain.eager, 10, plain.blame, again)
    plain.run()
    assert again.repeats
    assert not caplog.text
