"""A stand-in for CUDA graphs on machines without them."""

from contextlib import contextmanager

import torch


class Again:
    """Repeats a call instead of a graph: what it is to repeat must lie where it lay."""

    def __init__(self):
        self.rehearsals = self.repeats = 0
        self.state = torch.get_rng_state()

    def rehearse(self, call):
        self.rehearsals += 1
        return call()

    def record(self, call):
        def replay():
            self.repeats += 1
            call()

        return replay

    @contextmanager
    def harmless(self):
        before = torch.get_rng_state()
        try:
            yield
        except Exception:
            torch.set_rng_state(before)
            raise
