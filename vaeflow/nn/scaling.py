"""The scale on which a model's networks see data; its likelihood scores the data itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ScalingKind = Literal["raw", "log1p", "standardize"]

_EDGE = 30.0  # from where on T⁻¹ is a straight line: at counts of 1e13
_ROWS, _VALUES = 10_000, 1 << 26  # that are turned into float64 at a time, at most


class Examples(Protocol):
    """Data (N, *data_shape), a tensor or what is read part by part."""

    @property
    def shape(self) -> torch.Size:
        """Return (N, *data_shape)."""
        ...

    @property
    def device(self) -> torch.device:
        """Return where its values lie."""
        ...

    def __len__(self) -> int: ...

    def split(self, size: int, /) -> Iterable[Tensor]:
        """Give the data, so many examples at a time."""
        ...


class Scaling(nn.Module):
    r"""What the encoder sees of data x, and the location that the decoder's output d stands for.

    .. math:: u = (T(x) - c) / s, \qquad o = T^{-1}(a + s\,d)

    "standardize": T is the identity; c and s are the mean and the standard deviation of each value
    in the training data. "log1p": T(x) = log(1 + x), and x itself below 0; c is the mean of each
    value's T, and s is 1, as logarithms of counts have one scale. T⁻¹ ends in a straight line, so
    that no step of a training overflows. "raw" changes nothing and has no state.

    The location a, at d = 0, gives each value its mean in the training data. Where the likelihood's
    location is not on the scale of the data, the decoder's output stays as it is.

    Arguments:
        kind: which of them.
        data_shape: the shape of one example.
        emits: whether the likelihood's location is on the scale of the data.
        counts: which values are counts, truths (*data_shape): "log1p" leaves the others, such as
            the numbers of a table, as they are. None takes all for counts.
    """

    center: Tensor  # c, 0 until training data is measured
    spread: Tensor  # s, 1 until then
    start: Tensor  # a, 0 until then
    examples: Tensor  # that were measured

    def __init__(
        self,
        kind: ScalingKind,
        data_shape: tuple[int, ...],
        *,
        emits: bool,
        counts: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.data_shape = data_shape
        self.emits = emits and kind != "raw"
        if kind != "raw":
            self.register_buffer("center", torch.zeros(data_shape))
            self.register_buffer("spread", torch.ones(data_shape))
            self.register_buffer("start", torch.zeros(data_shape))
            self.register_buffer("examples", torch.tensor(0))
        some = counts is not None and not counts.all()
        self.counts: Tensor | None
        self.register_buffer("counts", counts if some else None, persistent=False)

    def extra_repr(self) -> str:
        """Return the kind, for `print(model)`."""
        return self.kind

    @property
    def told(self) -> str:
        """Return in words what the networks see, "" where that is the data."""
        logs = "log(1 + x)" if self.counts is None else "log(1 + x) of counts"
        seen = {"raw": "", "log1p": logs, "standardize": "(x − mean)/deviation"}[self.kind]
        if not seen:
            return ""
        networks = "encoder and decoder see" if self.emits else "the encoder sees"
        return f"scaling {self.kind}: {networks} {seen}, the likelihood scores x"

    @property
    def measured(self) -> bool:
        """Tell whether there is nothing to measure, or training data was."""
        return self.kind == "raw" or self.examples.item() > 0

    def forward(self, x: Tensor) -> Tensor:
        """Return u for data x (B, *data_shape)."""
        return x if self.kind == "raw" else (self._transform(x) - self.center) / self.spread

    def emit(self, output: Tensor) -> Tensor:
        """Return what the likelihood takes for the decoder's output (K, B, *output_shape).

        Of several numbers for each value, the first is the location, and the others stay.
        """
        if not self.emits:
            return output
        if output.shape[2:] == self.data_shape:
            return self._invert(self.start + self.spread * output)
        location = self._invert(self.start + self.spread * output[:, :, :1])
        return torch.cat((location, output[:, :, 1:]), 2)

    def emitted_at(self, output: Tensor) -> Tensor:
        """Return the decoder's output for which the likelihood takes `output` (*output_shape)."""
        if not self.emits:
            return output
        if output.shape == self.data_shape:
            return (self._transform(output) - self.start) / self.spread
        location = (self._transform(output[:1]) - self.start) / self.spread
        return torch.cat((location, output[1:]))

    @torch.no_grad()
    def measure(self, x: Examples, location: Tensor | None) -> None:
        """Take the scale of training data x (N, *data_shape), of which NaN is no part.

        Arguments:
            location: the likelihood's, (*data_shape), for which its mean is the mean of x; None
                where that is not on the scale of the data.
        """
        count = torch.stack([(~rows.isnan()).sum(0) for rows in self._rows(x)]).sum(0).clamp(min=1)
        center = torch.stack([rows.nansum(0) for rows in self._rows(x)]).sum(0) / count
        self.center.copy_(center)
        if location is not None:
            self.start.copy_(self._transform(location))
        if self.kind == "standardize":
            squares = torch.stack([(rows - center).square().nansum(0) for rows in self._rows(x)])
            ends = [_ends(rows) for rows in x.split(_size(x))]
            low, high = torch.stack(ends).unbind(1)
            # A value that is always the same has no scale.
            constant = (low.amin(0) >= high.amax(0)).to(self.spread.device)
            spread = (squares.sum(0) / count).sqrt().to(self.spread.device)
            self.spread.copy_(torch.where(constant, 1.0, spread))
        self.examples.fill_(len(x))

    def _transform(self, x: Tensor) -> Tensor:
        if self.kind != "log1p":
            return x
        logs = torch.log1p(F.relu(x)) + x.clamp(max=0)
        return logs if self.counts is None else torch.where(self.counts, logs, x)

    def _invert(self, v: Tensor) -> Tensor:
        if self.kind != "log1p":
            return v
        curve = torch.expm1(v.clamp(0.0, _EDGE)) + math.exp(_EDGE) * F.relu(v - _EDGE)
        value = torch.where(v < 0, v, curve)
        return value if self.counts is None else torch.where(self.counts, value, v)

    def _rows(self, x: Examples) -> Iterator[Tensor]:
        """Yield the transformed rows, in float64 where the device has it."""
        dtype = torch.float32 if x.device.type == "mps" else torch.float64
        return (self._transform(rows.to(dtype)) for rows in x.split(_size(x)))


def _ends(rows: Tensor) -> Tensor:
    """Return the smallest and the largest of each value that are numbers, (2, *data_shape)."""
    missing = rows.isnan()
    ends = ((math.inf, torch.amin), (-math.inf, torch.amax))
    return torch.stack([end(torch.where(missing, none, rows), 0) for none, end in ends])


def _size(x: Examples) -> int:
    return max(1, min(_ROWS, _VALUES // x.shape[1:].numel()))
