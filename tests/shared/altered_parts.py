"""Right parts made wrong in one respect."""

from functools import partial

import torch
from torch import nn
from torch.distributions import Distribution


def changed(part, **methods):
    """A part with methods of its own, each `method(right one, self, *arguments)`."""

    def bound(name, method):
        old = getattr(part, name)
        return lambda self, *arguments: method(lambda *a: old(self, *a), self, *arguments)

    return type(part.__name__, (part,), {name: bound(name, m) for name, m in methods.items()})


def forward(part, method):
    return changed(part, forward=method)


class Altered(Distribution):
    """A distribution with some of its methods replaced."""

    def __init__(self, inner, **methods):
        self.inner = inner
        self.__dict__.update(methods)
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    def __getattribute__(self, name):
        own = object.__getattribute__(self, "__dict__")
        if name in own:
            return own[name]
        if name.startswith("_") or name in ("batch_shape", "event_shape"):
            return object.__getattribute__(self, name)
        return getattr(own["inner"], name)


def distribution(part, mean=None, **methods):
    """The part with a distribution some of whose methods are `method(right one, *arguments)`.

    `mean(right one)` replaces the mean.
    """

    def altered(call, self, *arguments):
        p = call(*arguments)
        own = {name: partial(method, p) for name, method in methods.items()}
        return Altered(p, **own, **({} if mean is None else {"mean": mean(p)}))

    return forward(part, altered)


def attribute(part, **values):
    """The part with attributes set as it is built."""

    def __init__(self, *arguments):
        part.__init__(self, *arguments)
        self.__dict__.update(values)

    return type(part.__name__, (part,), {"__init__": __init__})


def with_parameter(part):
    """The part with a parameter that it does not use."""

    def __init__(self, *arguments):
        part.__init__(self, *arguments)
        self.spare = nn.Parameter(torch.zeros(2))

    return type(part.__name__, (part,), {"__init__": __init__})


def with_gain(part, method):
    """The part whose forward is `method(right one, self, *arguments)`; its gain is not saved."""

    def __init__(self, *arguments):
        part.__init__(self, *arguments)
        self.register_buffer("gain", torch.rand(()), persistent=False)

    return forward(type(part.__name__, (part,), {"__init__": __init__}), method)


def once_in(calls, right, wrong):
    """A function that is wrong in one of so many calls."""
    made = 0

    def function(*arguments):
        nonlocal made
        made += 1
        return wrong(*arguments) if made % calls == 0 else right(*arguments)

    return function


class _Changed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, method):
        ctx.save_for_backward(x)
        ctx.method = method
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.method(gradient, *ctx.saved_tensors), None


def with_gradient(x, method):
    """The same x, whose gradient is `method(right one, x)`."""
    return _Changed.apply(x, method)
