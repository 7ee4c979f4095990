"""The generators that a run owns."""

import random

import numpy as np
import pytest
import torch

from vaeflow.runtime.noise import Noise, twisters

CPU = torch.device("cpu")


def draws():
    """Draw from the three global generators, of normal laws an odd number."""
    return [
        torch.randn(3).tolist(), random.random(), random.gauss(0, 1), random.randrange(10**9),
        np.random.rand(2).tolist(), np.random.randn(1).tolist(), np.random.randint(10**9),
    ]  # fmt: skip


def test_the_noise_is_a_function_of_seed_rank_and_purpose():
    def of(seed, *stream, purpose="validation"):
        with Noise(seed, CPU, stream).private(purpose):
            return draws()

    assert of(0) == of(0)
    others = [of(0), of(1), of(0, 1), of(0, purpose="other")]
    for i in range(len(others[0])):
        assert len({str(other[i]) for other in others}) == len(others)


@pytest.mark.parametrize("way", ["owned", "private"])
def test_the_callers_generators_are_put_back(way):
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    draws()  # a normal draw is kept for the next call
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state())
    expected = draws()
    torch.set_rng_state(states[0]), random.setstate(states[1]), np.random.set_state(states[2])
    noise = Noise(0, CPU)

    def fail():
        with noise.owned() if way == "owned" else noise.private("x"):
            draws()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert draws() == expected


@pytest.mark.parametrize("before", range(3))
def test_a_saved_state_continues_every_generator(before):
    noise = Noise(3, CPU)
    with noise.owned():
        for _ in range(before):
            draws()
        saved = {name: state.clone() for name, state in noise.states().items()}
        expected = [draws() for _ in range(3)]
    with noise.owned(saved):
        assert [draws() for _ in range(3)] == expected
    assert {k: (v.dtype, tuple(v.shape)) for k, v in twisters().items()} == {
        "python": (torch.int64, (627,)),
        "numpy": (torch.int64, (627,)),
    }


def test_an_older_state_of_torch_alone_is_taken():
    noise = Noise(3, CPU)
    with noise.owned():
        fresh = draws()
    with noise.owned():
        torch.randn(10)
        saved = {"cpu": torch.get_rng_state()}
    with noise.owned(saved):
        seen = draws()
    assert seen[0] != fresh[0]
    assert seen[1:] == fresh[1:]


def test_another_generator_of_numpy_is_left_alone():
    kept = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(1))
    try:
        assert list(twisters()) == ["python"]
    finally:
        np.random.set_bit_generator(kept)
