"""Runs of a user's program: under its plates, with its discrete sites enumerated and summed out.

Shapes: K samples, B batch. Densities are in nats.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, ClassVar, NamedTuple, Protocol

import pyro
from opt_einsum import shared_intermediates
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import config_enumerate
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing
from pyro.poutine.runtime import _DIM_ALLOCATOR, _ENUM_ALLOCATOR
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from vaeflow.errors import ConfigError
from vaeflow.runtime.validation import no_validation

_ROOM = 4  # plates that a program may open itself
Handler = AbstractContextManager[Any]
Packed = Any  # a tensor whose axes Pyro names by letters, `_pyro_dims`


class Observing(Protocol):
    """A user's program, with what vaeflow must know to run it; see `vaeflow.pyro.Program`."""

    by_value: ClassVar[bool]
    data_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def program(self, output: Any, x: Tensor) -> None: ...

    def given(self, output: Tensor) -> Any: ...

    def mean(self, output: Tensor) -> Tensor: ...


class _Plate(NamedTuple):
    name: str
    size: int
    dim: int


def plates(program: Observing, output: Tensor) -> list[_Plate]:
    """Return the plates of an output (K, B, *output_shape), the one of the samples first."""
    sizes = [*output.shape[:2], *(program.data_shape if program.by_value else ())]
    names = ["_samples", "_batch", *(f"_axis_{i}" for i in range(len(sizes) - 2))]
    return [
        _Plate(name, size, i - len(sizes))
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]


@contextmanager
def apart() -> Iterator[None]:
    """Keep a run to itself: an inference around it sees none of its sites, nor takes its axes."""
    open_plates, _DIM_ALLOCATOR._stack = _DIM_ALLOCATOR._stack, []
    enumerated = dict(vars(_ENUM_ALLOCATOR))
    try:
        with poutine.block(), no_validation():
            yield
    finally:
        _DIM_ALLOCATOR._stack = open_plates
        vars(_ENUM_ALLOCATOR).update(enumerated)


def run(program: Observing, output: Tensor, x: Tensor, handler: Handler | None = None) -> None:
    """Call a program under its plates, and those under a handler."""
    with ExitStack() as held:
        held.enter_context(handler or nullcontext())
        for plate in plates(program, output):
            held.enter_context(pyro.plate(plate.name, plate.size, dim=plate.dim))
        rows = x if program.by_value else x.flatten(-len(program.data_shape))
        program.program(program.given(output), rows)


def enumerated(
    program: Observing, output: Tensor, x: Tensor, handler: Handler | None = None
) -> Any:
    """Return the trace of a run in which the discrete sites have all their values side by side.

    Raises:
        ConfigError: if a site that is not observed has not finitely many values, or a parameter is
            not the part's own.
    """

    def whole() -> None:
        run(program, output, x, handler)

    first = -1 - len(plates(program, output)) - _ROOM
    every = poutine.enum(config_enumerate(whole), first_available_dim=first)
    with apart():
        trace = poutine.trace(every).get_trace()
        for name, node in trace.nodes.items():
            if node["type"] == "param":
                raise ConfigError(
                    f"the program {type(program).__name__} asks for pyro.param({name!r}), which a "
                    "run neither trains nor keeps: make it a torch.nn.Parameter of the part"
                )
        for name, site in _sites(trace):
            if not site["is_observed"] and "_enumerate_dim" not in site["infer"]:
                raise ConfigError(
                    f"the site {name!r} of the program {type(program).__name__} is neither "
                    "observed nor of finitely many values, so it cannot be summed out: give it "
                    "obs, or move its randomness to z"
                )
            log_prob = site["fn"].log_prob(site["value"])
            site["unscaled_log_prob"] = log_prob
            site["log_prob"] = scale_and_mask(log_prob, site["scale"], site["mask"])
        trace.pack_tensors()
    return trace


def contracted(
    trace: Any, target: Iterable[str], dims: Iterable[str] = (), *, observed: bool = True
) -> Packed:
    """Return the log-density of a trace for each cell of the target plates, the rest summed out.

    Arguments:
        trace: by `enumerated`.
        target: plates, by name.
        dims: symbols of enumerated sites that are left in.
        observed: whether observed sites are scored.

    Returns:
        A tensor packed as Pyro does: `_pyro_dims` names its axes.
    """
    symbols = trace.plate_to_symbol
    sizes: dict[str, int] = {}
    factors: OrderedDict[frozenset[str], list[Packed]] = OrderedDict()
    for _, site in _sites(trace):
        frames = {symbols[f.name]: f.size for f in site["cond_indep_stack"] if f.vectorized}
        sizes |= frames
        if observed or not site["is_observed"]:
            factors.setdefault(frozenset(frames), []).append(site["packed"]["log_prob"])
    every = {dim for terms in factors.values() for dim in _axes(terms)}
    with shared_intermediates() as cache:
        return contract_to_tensor(
            factors,
            every - set(symbols.values()),
            frozenset(symbols[name] for name in target),
            set(dims),
            ring=_Ring(cache, dim_to_size=sizes),
        )


class _Ring(LogRing):  # type: ignore[misc]
    """Sums products of densities to the last digit.

    Pyro scales each factor by its own largest value before it multiplies them, so that a product
    underflows where one factor is large where another is small.
    """

    def sumproduct(self, terms: Iterable[Packed], dims: Iterable[str]) -> Packed:
        """Eliminate one axis after the other, the one with the fewest others beside it first."""
        left, waiting = list(terms), {d for d in dims if any(d in t._pyro_dims for t in terms)}
        while waiting:
            beside = {dim: _axes(_with(left, dim)) for dim in waiting}
            dim = min(waiting, key=lambda one: (len(beside[one]), one))
            joint = _product(_with(left, dim))
            total: Packed = joint.logsumexp(joint._pyro_dims.index(dim))
            total._pyro_dims = joint._pyro_dims.replace(dim, "")
            left = [term for term in left if dim not in term._pyro_dims] + [total]
            waiting.remove(dim)
        return _product(left)


def _with(terms: Iterable[Packed], dim: str) -> list[Packed]:
    return [term for term in terms if dim in term._pyro_dims]


def _axes(terms: Iterable[Packed]) -> set[str]:
    return {dim for term in terms for dim in term._pyro_dims}


def _product(terms: list[Packed]) -> Packed:
    """Return the sum of log-densities."""
    first, *others = packed.broadcast_all(*terms)
    total = sum(others, first[...])
    total._pyro_dims = first._pyro_dims
    return total


def _sites(trace: Any) -> list[tuple[str, Any]]:
    """Return the sites that are sampled or observed."""
    return [
        (name, site)
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not isinstance(site["fn"], _Subsample)
    ]
