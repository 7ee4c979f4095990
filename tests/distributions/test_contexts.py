"""Autocast is left where it is on, and programs that torch records are told apart."""

import pytest
import torch

from vaeflow.distributions.contexts import full_precision, recorded


def test_autocast_is_left_within_the_block_alone():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(x):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16
    with full_precision(x):
        assert (x @ x).dtype == torch.float32


class Told(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(recorded())
        return x + 1


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_export_and_trace_record_a_program():
    x, told = torch.ones(2), Told()
    told(x)
    torch.jit.trace(told, (x,), check_trace=False)
    assert told.seen == [False, True]
    del told.seen[:]
    torch.export.export(told, (x,))
    assert recorded() is False
