"""The likelihood of a table: scores by scipy, laws by name, and what it refuses."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch

import vaeflow.testing
from vaeflow.data.checks import check_values
from vaeflow.data.columns import Column, Columns
from vaeflow.distributions import log_prob_of_observed
from vaeflow.errors import ConfigError, DataError
from vaeflow.model.sizes import scaling_of
from vaeflow.options import describe, validate
from vaeflow.parts.likelihoods import PerColumn

TABLE = Columns(
    (
        Column("visits", "count"),
        Column("age", "number"),
        Column("site", "category", levels=("north", "south", "west")),
        Column("smokes", "boolean", levels=("no", "yes")),
        Column("height", "number", center=170.0, spread=10.0),
        Column("n_falls", "count"),
        Column("weight", "number"),
        Column("color", "category", levels=("red", "green", "blue")),
        Column("grade", "category", levels=("a", "b")),
    )
)
OF = {"height": "laplace", "n_*": "poisson", "weight": "student-t"}


def _made(columns=TABLE, **options):
    made = PerColumn((columns.width,), columns, **options).double().eval()
    return vaeflow.testing.far_from_start(made, 1.0)


def _row(seed=0, rows=4):
    """Return outputs (2, rows, D), and data (rows, D)."""
    torch.manual_seed(seed)
    made = _made(of=OF)
    output = 2 * torch.randn(2, rows, TABLE.width, dtype=torch.float64)
    return made, output, made(output).sample()[0]


def _by_scipy(made, output, x):
    """Return the log-density of each column of one row, by scipy."""
    scale = {law: (raw.exp() + made.floor).tolist() for law, raw in made.log_scale.items()}
    o, x = output.numpy(), x.numpy()
    mu = np.logaddexp(0, o)
    (r,), (sigma,) = scale["negative-binomial"], scale["gaussian"]
    found = [
        scipy.stats.nbinom.logpmf(x[0], r, r / (r + mu[0])),
        scipy.stats.norm.logpdf(x[1], o[1], sigma),
        scipy.stats.multinomial.logpmf(x[2:5], 1, scipy.special.softmax(o[2:5])),
        scipy.stats.bernoulli.logpmf(x[5], scipy.special.expit(o[5])),
        scipy.stats.laplace.logpdf(x[6], o[6], scale["laplace"][0]),
        scipy.stats.poisson.logpmf(x[7], mu[7]),
        scipy.stats.t.logpdf(x[8], made.df, o[8], scale["student-t"][0]),
        scipy.stats.multinomial.logpmf(x[9:12], 1, scipy.special.softmax(o[9:12])),
        scipy.stats.multinomial.logpmf(x[12:], 1, scipy.special.softmax(o[12:])),
    ]
    return np.array(found)


def test_each_column_has_the_density_of_its_law():
    made, output, x = _row()
    for k in range(2):
        for b in range(4):
            wanted = _by_scipy(made, output[k, b], x[b]).sum()
            assert made(output).log_prob(x)[k, b].item() == pytest.approx(wanted, abs=1e-10)


def test_what_was_observed_has_the_density_of_its_columns():
    made, output, x = _row()
    output.requires_grad_()
    kept = torch.rand(4, len(TABLE), generator=torch.Generator().manual_seed(3)) < 0.5
    widths = torch.tensor([column.width for column in TABLE])
    observed = kept.repeat_interleave(widths, 1)
    score = log_prob_of_observed(made(output), x.where(observed, math.nan), observed)
    for b in range(4):
        wanted = _by_scipy(made, output[1, b].detach(), x[b])[kept[b].numpy()].sum()
        assert score[1, b].item() == pytest.approx(wanted, abs=1e-10)
    made.zero_grad()
    (gradient,) = torch.autograd.grad(score.sum(), output, retain_graph=True)
    assert gradient.isfinite().all()
    assert not gradient[:, ~observed].any()
    score.sum().backward()
    assert all(p.grad.isfinite().all() for p in made.parameters())


def test_mean_and_variance_are_those_of_the_draws():
    made, output, _ = _row()
    p = made(output[:1, :1])
    x = p.sample((20_000,))[:, 0, 0]
    for power, wanted in ((1, p.mean), (2, p.variance)):
        values = x if power == 1 else (x - p.mean[0, 0]).square()
        error = values.std(0) / math.sqrt(len(x))
        assert ((values.mean(0) - wanted[0, 0]).abs() < 5 * error + 1e-9).all()
    for where in (slice(2, 5), slice(9, 12), slice(12, 14)):  # one level of each category
        assert (x[:, where].sum(1) == 1).all()
    assert made.support.check(x).all()


def _columns_of(kind, width):
    if kind == "category":
        return Columns((Column("c", kind, levels=tuple(map(str, range(width)))),))
    kinds = ("number", "count", "boolean") if kind == "mixed" else (kind,)
    return Columns(tuple(Column(f"c{i}", kinds[i % len(kinds)]) for i in range(width)))


def _part(kind, of, data_shape, columns=None):
    if len(data_shape) != 1:
        raise ConfigError("a table has rows")
    return PerColumn(data_shape, _columns_of(kind, data_shape[0]), of=of)


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("number", {"*": "student-t"}),
        ("count", {}),
        ("count", {"*": "poisson"}),
        ("boolean", {}),
        ("category", {}),
        ("mixed", {}),
    ],
)
def test_each_kind_of_column_keeps_the_contract(kind, of):
    for check in vaeflow.testing.checks("likelihood"):
        try:
            check(partial(_part, kind, of))
        except vaeflow.testing.NotApplicable:
            assert not check.core or kind in ("category", "mixed")


def test_many_columns_are_scored_by_few_laws():
    columns = Columns(TABLE.each * 40)
    assert len(_made(columns).groups) == 5  # categories of 2 and of 3 levels are two of them


def test_a_later_name_wins_and_others_stay():
    made = _made(of={"*e*": "laplace", "weight": "gaussian"}, columns=Columns(TABLE.each[4:7:2]))
    assert [(law, n) for law, _, n in made.groups] == [("laplace", 1), ("gaussian", 1)]


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ({"agee": "laplace"}, r"no column is called 'agee' \(did you mean 'age'\?\); there"),
        ({"q*": "laplace"}, r"no column is called 'q\*'; there are visits, age"),
        ({"age": "poisson"}, "'age' is a number, which .* by --dataset.kinds age=count"),
        ({"s*": "gaussian"}, "'site' is a category, which may be categorical: choose"),
    ],
)
def test_laws_that_do_not_fit_are_refused(of, told):
    with pytest.raises(ConfigError, match=told):
        _made(of=of)


def test_columns_that_are_not_those_of_the_data_are_refused():
    with pytest.raises(ConfigError, match="no table, and has no columns: leave it out"):
        PerColumn((3,), of={"age": "laplace"})
    with pytest.raises(ConfigError, match=r"columns are 14 values, but the data has the shape"):
        PerColumn((3,), TABLE)


@pytest.mark.parametrize("given", ["age=student-t, n_*=poisson", "{age = student-t,n_*=poisson}"])
def test_laws_are_read_from_a_line(given):
    read = validate(PerColumn, {"of": given}, "likelihood")["of"]
    assert read == {"age": "student-t", "n_*": "poisson"}
    (option,) = [option for option in describe(PerColumn) if option.name == "of"]
    assert option.type.startswith("name=one of gaussian | laplace")


@pytest.mark.parametrize("given", ["age", "age=normal", {"age": 3}])
def test_laws_that_there_are_not_are_refused(given):
    with pytest.raises(ConfigError, match=r"--likelihood.of: got .*, expected name=one of"):
        validate(PerColumn, {"of": given}, "likelihood")


def test_the_support_refuses_each_value_by_the_kind_of_its_column():
    _, _, x = _row()
    made = _made()
    spoiled = {(0, 0): -1.0, (1, 7): 0.5, (2, 5): 2.0, (3, 1): math.inf, (1, 3): 0.5}
    for place, value in spoiled.items():
        x[place] = value
    x[0, 2:5] = torch.tensor([1.0, 0.0, 1.0])  # two levels
    x[2, 9:12] = 0.0  # none
    wrong = {*spoiled, *((0, i) for i in (2, 3, 4)), *((2, i) for i in (9, 10, 11))}
    assert {tuple(where) for where in (~made.support.check(x)).nonzero().tolist()} == wrong
    for row, told in (
        (0, r"0 at \(0\) is -1, but the count 'visits' needs whole numbers ≥ 0: correct it"),
        (2, r"2 at \(5\) is 2, but the boolean 'smokes' needs values 0 and 1"),
        (1, r"1 at \(3\) is 0.5, but the category 'site' needs one value 1 and the others 0"),
    ):
        gap = x.clone()
        gap[[r for r in range(4) if r != row]] = math.nan
        gap[3, 0] = -5.0  # behind it
        with pytest.raises(DataError, match=told):
            check_values("x", gap, (14,), made.support, gaps=True)


def test_an_output_is_found_for_any_mean():
    made, output, x = _row()
    mean = made(output).mean[0, 0]
    found = made.output_at(mean)
    torch.testing.assert_close(made(found[None, None]).mean[0, 0], mean)
    edge = made.output_at(x[0])
    assert edge.isfinite().all()
    torch.testing.assert_close(made(edge[None, None]).mean[0, 0], x[0], atol=2e-3, rtol=1e-3)


def test_networks_see_the_logarithms_of_counts_alone():
    made, output, x = _row(rows=200)
    scaling = scaling_of("auto", made).double()
    scaling.measure(x, made.output_at(x.mean(0)))
    seen = scaling(x) + scaling.center
    counts = [0, 7]
    assert made.counts.nonzero()[:, 0].tolist() == counts
    torch.testing.assert_close(seen[:, counts], x[:, counts].log1p())
    others = [i for i in range(14) if i not in counts]
    torch.testing.assert_close(seen[:, others], x[:, others])
    start = made(scaling.emit(torch.zeros_like(output[:, :1]))).mean[0, 0]
    torch.testing.assert_close(start, x.mean(0), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(scaling.emitted_at(scaling.emit(output)[0, 0]), output[0, 0])
