"""The likelihood of a table: each column by its kind.

Shapes: D values of an example. The values of one law are scored side by side, however many columns
they are of.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import log, prod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Laplace, Normal, constraints

from vaeflow.data.columns import Column, ColumnKind, Columns
from vaeflow.distributions.blocks import Blocks, OneHots
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.parts.abstract import Likelihood, Shape
from vaeflow.parts.likelihoods.negative_binomial import GammaPoisson
from vaeflow.parts.likelihoods.poisson import SoftplusPoisson
from vaeflow.parts.likelihoods.student_t import StudentTValues

Law = Literal[
    "gaussian", "laplace", "student-t", "negative-binomial", "poisson", "bernoulli", "categorical"
]
# The laws that each kind of column may have, its default first.
LAWS: Mapping[ColumnKind, tuple[Law, ...]] = {
    "number": ("gaussian", "laplace", "student-t"),
    "count": ("negative-binomial", "poisson"),
    "boolean": ("bernoulli",),
    "category": ("categorical",),
}
_SCALED = ("gaussian", "laplace", "student-t", "negative-binomial")
_FAR = 7.0  # the largest logit, either way, for a mean at the edge
_NEEDS = {
    "number": "finite numbers",
    "count": "whole numbers ≥ 0",
    "boolean": "values 0 and 1",
    "category": "one value 1 and the others 0",
}


class PerColumn(Likelihood):
    r"""Independent columns of a table, each with the law of its kind.

    .. math:: \log p(x|z) = \sum_c \log p_c(x_c|z)

    A number is Gaussian, with a learned σ of its own. A whole count is negative binomial, with a
    learned dispersion r of its own; as r → ∞ it is a Poisson. True or false is Bernoulli, and a
    category is categorical. The decoder emits one number for each value of x: the mean of a number,
    the logits of a boolean and of a category's levels, and o of a count's mean log(1 + e^o). (The
    laws are those of Nazábal et al. 2020, section 3, for the most part; their decoder emits the
    scales, too.)

    All values of data that is no table are taken for numbers.

    Options:
        of: laws of columns by their names, in which * stands for any letters and a later one wins,
            such as age=student-t,n_*=poisson. A number is gaussian, laplace or student-t, a count
            negative-binomial or poisson.
        sigma: where the scales of numbers start; a table's numbers have the deviation 1, unless its
            data set is told to leave them as they are.
        floor: the smallest scale that learning can reach; constant values would drive it to 0.
        df: degrees of freedom of a student-t, whose mean exists above 1 and variance above 2.
    """

    takes_columns: ClassVar[bool] = True
    location_in_units = True
    example = "--dataset table --dataset.path PATH"
    from_example: Tensor  # (D,), which value of an example each value of the groups is
    to_example: Tensor  # its inverse

    def __init__(
        self,
        data_shape: Shape,
        columns: Columns | None = None,
        *,
        of: dict[str, Law] | None = None,
        sigma: PositiveFloat = 1.0,
        floor: PositiveFloat = 1e-2,
        df: Annotated[float, Field(gt=1)] = 5.0,
    ) -> None:
        super().__init__(data_shape)
        if columns and self.data_shape != (columns.width,):
            raise ConfigError(
                f"--likelihood columns: the columns are {columns.width} values, but the data has "
                f"the shape {self.data_shape}: build it with the columns of this data"
            )
        laws = _laws(columns or Columns(), of or {})
        columns = columns or Columns(tuple(Column("", "number") for _ in range(prod(data_shape))))
        groups = _groups(columns, laws)
        self.groups = [(law, levels, len(values)) for (law, levels), values in groups.items()]
        order = torch.tensor([i for values in groups.values() for i in values])
        self.sorted = bool((order.diff() > 0).all())
        # They are made of the columns, and no state of a training.
        self.register_buffer("from_example", order, persistent=False)
        self.register_buffer("to_example", order.argsort(), persistent=False)
        self.floor, self.df = floor, df
        self.log_scale = nn.ParameterDict()
        for law, _, count in self.groups:
            if law in _SCALED:
                start = 1.0 if law == "negative-binomial" else sigma
                self.log_scale[law] = torch.full((count,), log(max(start - floor, 1e-6)))
        self.support = _support(columns)
        self.counts = _of_kind(columns, "count").reshape(self.data_shape)

    def forward(self, output: Tensor) -> Distribution:
        blocks = [self._law(law, levels, part) for law, levels, part in self._parts(output)]
        order = None if self.sorted else (self.from_example, self.to_example)
        return Blocks(blocks, self.data_shape, order)

    def _parts(self, values: Tensor) -> list[tuple[Law, int, Tensor]]:
        """Return each law and number of levels with its values (*, n) of (*, *data_shape)."""
        row = values.flatten(-len(self.data_shape))
        row = row if self.sorted else row.index_select(-1, self.from_example)
        parts = row.split([count for *_, count in self.groups], -1)
        return [(*group[:2], part) for group, part in zip(self.groups, parts, strict=True)]

    def _law(self, law: Law, levels: int, output: Tensor) -> Distribution:
        """Return the distribution of values of one law (K, B, n)."""
        if law == "categorical":
            return OneHots(output, levels)
        if law == "bernoulli":
            return Bernoulli(logits=output, validate_args=False)
        if law == "poisson":
            return SoftplusPoisson(output)
        scale = self.log_scale[law].exp() + self.floor
        if law == "negative-binomial":
            return GammaPoisson(output, scale)
        if law == "student-t":
            return StudentTValues(self.df, output, scale, validate_args=False)
        return (Normal if law == "gaussian" else Laplace)(output, scale, validate_args=False)

    def output_at(self, mean: Tensor) -> Tensor:
        """Return the output (*data_shape) of a mean; logits stay within ±7."""
        output = torch.cat([_output_at(law, part) for law, _, part in self._parts(mean)])
        return output[self.to_example].reshape(self.data_shape)


def _output_at(law: Law, mean: Tensor) -> Tensor:
    if law in ("negative-binomial", "poisson"):
        mean = mean.clamp(min=torch.tensor(-_FAR).exp().item())
        return mean + torch.log(-torch.expm1(-mean))
    if law == "bernoulli":
        return torch.logit(mean).clamp(-_FAR, _FAR)
    return mean.log().clamp(min=-_FAR) if law == "categorical" else mean


def _laws(columns: Columns, of: Mapping[str, Law]) -> dict[str, Law]:
    """Return the law of each column.

    Raises:
        ConfigError: if a name is none of the columns', or a law is none of the column's kind.
    """
    laws = {column.name: LAWS[column.kind][0] for column in columns}
    for pattern, law in of.items():
        flag = f"--likelihood.of {pattern}={law}"
        if not columns:
            raise ConfigError(f"{flag}: the data is no table, and has no columns: leave it out")
        found = [c for c in columns if c.name == pattern or fnmatchcase(c.name, pattern)]
        if not found:
            names = ", ".join(columns.names[:10]) + (", …" if len(columns) > 10 else "")
            raise ConfigError(
                f"{flag}: no column is called {pattern!r}{did_you_mean(pattern, columns.names)}; "
                f"there are {names}"
            )
        for column in found:
            if law not in LAWS[column.kind]:
                raise ConfigError(
                    f"{flag}: column {column.name!r} is a {column.kind}, which may be "
                    f"{' or '.join(LAWS[column.kind])}: choose one of them, or leave it out"
                    f"{_other_kind(column, law)}"
                )
            laws[column.name] = law
    return laws


def _other_kind(column: Column, law: Law) -> str:
    """Return how a number becomes a count, or a count a number, for a law of the other kind."""
    kind = next(kind for kind, laws in LAWS.items() if law in laws)
    if {kind, column.kind} != {"number", "count"}:
        return ""
    name = shlex.quote(f"{column.name}={kind}")
    return f", or take the column for a {kind} by --dataset.kinds {name}"


def _groups(columns: Columns, laws: Mapping[str, Law]) -> dict[tuple[Law, int], list[int]]:
    """Return which values of an example have the same law and, if categories, number of levels."""
    groups: dict[tuple[Law, int], list[int]] = {}
    start = 0
    for column in columns:
        law = laws.get(column.name, LAWS[column.kind][0])
        values = groups.setdefault((law, column.width), [])
        values += range(start, start + column.width)
        start += column.width
    return groups


def _of_values(columns: Columns) -> list[Column]:
    """Return the column of each value of an example."""
    return [column for column in columns for _ in range(column.width)]


def _of_kind(columns: Columns, *kinds: ColumnKind) -> Tensor:
    return torch.tensor([column.kind in kinds for column in _of_values(columns)])


def _support(columns: Columns) -> constraints.Constraint:
    kinds = {column.kind for column in columns}
    if kinds == {"number"}:
        return constraints.real
    if kinds == {"count"}:
        return constraints.nonnegative_integer
    if kinds == {"boolean"}:
        return constraints.boolean
    return ColumnSupport(columns)


class ColumnSupport(constraints.Constraint):
    """Rows (*, D) whose columns are numbers, whole counts, 0 or 1, and one 1 among zeros.

    A value that is wrong by itself is refused by itself, and a category without exactly one 1 as a
    whole.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.is_discrete = all(column.kind != "number" for column in columns)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Return one truth for each value."""
        good = value.isfinite()
        whole = (value >= 0) & (value == value.floor())
        binary = (value == 0) | (value == 1)
        good &= whole | ~_of_kind(self.columns, "count").to(value.device)
        good &= binary | ~_of_kind(self.columns, "boolean", "category").to(value.device)
        for column, where in zip(self.columns, self.columns.slices().values(), strict=True):
            if column.kind == "category":
                block = value[..., where]
                wrong = binary[..., where].all(-1) & (block.sum(-1) != 1)
                good[..., where] &= ~wrong[..., None]
        return good

    def needs_at(self, x: Tensor) -> str:
        """Return what is expected where the first value of x (N, D) is wrong."""
        wrong = ~(self.check(x) | x.isnan())
        column = _of_values(self.columns)[int(wrong.nonzero()[0, -1])]
        return f"the {column.kind} {column.name!r} needs {_NEEDS[column.kind]}"

    def __str__(self) -> str:
        return "what the columns hold"
