"""zuko, imported without its side effect: everything here gets zuko's names from this module.

`import zuko` switches the argument validation of torch's distributions off for the whole process;
it is put back as it was.
"""

from __future__ import annotations

from torch.distributions import Distribution

_before = Distribution._validate_args

from zuko.flows import (  # type: ignore[import-untyped]  # noqa: E402
    FFJTransform,
    GeneralCouplingTransform,
    LazyTransform,
    MaskedAutoregressiveTransform,
)
from zuko.flows.neural import MNN, UMNN  # type: ignore[import-untyped]  # noqa: E402
from zuko.transforms import (  # type: ignore[import-untyped]  # noqa: E402
    AdditiveTransform,
    BoundedBernsteinTransform,
    ComposedTransform,
    FreeFormJacobianTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
    MonotonicTransform,
    UnconstrainedMonotonicTransform,
)
from zuko.utils import broadcast  # type: ignore[import-untyped]  # noqa: E402

Distribution.set_default_validate_args(_before)

__all__ = [
    "MNN",
    "UMNN",
    "AdditiveTransform",
    "BoundedBernsteinTransform",
    "ComposedTransform",
    "FFJTransform",
    "FreeFormJacobianTransform",
    "GeneralCouplingTransform",
    "LazyTransform",
    "MaskedAutoregressiveTransform",
    "MonotonicAffineTransform",
    "MonotonicRQSTransform",
    "MonotonicTransform",
    "UnconstrainedMonotonicTransform",
    "broadcast",
]
