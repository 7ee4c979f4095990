"""A Laplace likelihood of real-valued data, which forgives outliers.

Shapes: K samples, B batch, D values of an example, data_shape such as (1, 28, 28).
"""

from __future__ import annotations

from math import log, prod

from pydantic import PositiveFloat
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, constraints
from vaeflow.parts import Likelihood, Shape


class MyPart(Likelihood):
    r"""Independent Laplace values around a median m that the decoder emits.

    .. math:: \log p(x|z) = -\sum_{i=1}^D \frac{|x_i - m_i|}{b} - D \log 2b

    The error counts by its size where a Gaussian's counts by its square, so that a few wrong values
    cost less (Laplace 1774). Any real x can be scored; the peak is at x = m, −D log 2b.

    Options:
        scale: b, the mean of |x − m|.
    """

    support = constraints.real

    def __init__(self, data_shape: Shape, *, scale: PositiveFloat = 1.0) -> None:
        super().__init__(data_shape)
        self.scale = scale
        self.log_peak = -prod(data_shape) * log(2 * scale)

    def forward(self, output: Tensor) -> Distribution:
        """Map medians (K, B, *data_shape) to p(x|z), batch (K, B), event data_shape."""
        values = Laplace(output, self.scale, validate_args=False)
        return Independent(values, len(self.data_shape), validate_args=False)
