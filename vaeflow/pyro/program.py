"""A Pyro program as likelihood."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor
from torch.distributions import Distribution

from vaeflow.parts.abstract import Likelihood, Shape
from vaeflow.pyro.law import RowLaw, ValueLaw


class Program(Likelihood):
    r"""p(x|z) by a program of Pyro: its discrete sites are summed out exactly.

    .. math:: \log p(x|z) = \log \sum_s p(s|z)\, p(x|s, z)

    A subclass says in `program` how x comes about, in as many `pyro.sample` as it takes; a site
    with `obs` is scored, and any other must have finitely many values, which are enumerated in
    parallel (Obermeyer et al. 2019). z comes as the decoder's output.

    vaeflow opens a plate of the K samples and one of the B examples. Where `by_value` holds, values
    are independent given z: a plate along each axis of the data stands around the program, which is
    written for a single value, and sites have batch (K, B, \*data_shape). Otherwise it is written
    for a whole example, a row of its D values, and sites have batch (K, B).

    A missing value is NaN. A site that is observed as NaN is summed over where it has finitely many
    values; else it is left out, which is its marginal, unless others depend on it: their score is
    NaN then.

    Attributes:
        outputs: numbers of the decoder for each value; `output_shape` may be set instead.
        by_value: whether the program is written for a single value.
    """

    example = "--dataset file --dataset.path PATH"
    outputs: ClassVar[int] = 1
    by_value: ClassVar[bool] = True

    def __init__(self, data_shape: Shape) -> None:
        super().__init__(data_shape)
        if self.outputs > 1:
            self.output_shape = (self.outputs, *self.data_shape)

    @abstractmethod
    def program(self, output: Any, x: Tensor) -> None:
        """Observe x under the decoder's output.

        The `obs` of the sites of x are x itself or parts of it, such as `x[..., 0]`, each value of
        x once: so vaeflow knows where a draw of a site belongs. Where other sites depend on a value
        of x, use what its `pyro.sample` returns.

        Arguments:
            output: (K, B, *data_shape), or (K, B, D) without `by_value`; with several `outputs` a
                tuple of so many; (K, B, *output_shape) where that was set to something else.
            x: (1 or K, B, *data_shape), or (1 or K, B, D) without `by_value`.
        """

    def mean(self, output: Tensor) -> Tensor:
        """Return E[x|z] (K, B, *data_shape), from the means of the laws of the observed sites.

        Where a law has none, or depends on a continuous value of x, it is an average of 1000 draws,
        which a subclass may replace.
        """
        return self._law(output).moment(1)

    def forward(self, output: Tensor) -> Distribution:
        return self._law(output)

    def given(self, output: Tensor) -> Any:
        """Return an output (K, B, *output_shape) as `program` takes it."""
        axes = len(self.data_shape)
        more = self.output_shape[: len(self.output_shape) - axes]
        if self.output_shape != (*more, *self.data_shape) or more not in ((), (self.outputs,)):
            return output
        if not self.by_value:
            output = output.flatten(-axes)
        return output.unbind(-1 - (axes if self.by_value else 1)) if more else output

    def _law(self, output: Tensor) -> ValueLaw | RowLaw:
        return (ValueLaw if self.by_value else RowLaw)(self, output)
