"""A grid: the product of its values, the names of its cells, and its file."""

import pytest

from vaeflow.benchmark.grid import Cell, Grid, make_cells, split_values
from vaeflow.config.flat import flatten, nest
from vaeflow.config.way import Way
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import load_plugins

WAY = Way("laplace", 5)


@pytest.fixture(scope="module")
def cells():
    plugins = load_plugins()

    def make(names=None, vary=None, seeds=(0,), line=None, base=()):
        found, _ = make_cells(base, line or {}, names or {}, vary or {}, seeds, plugins)
        return {cell.name: flatten(cell.config) for cell in found}

    return make


def test_a_grid_multiplies_parts_values_and_seeds(cells):
    found = cells(
        {"posterior": ["identity", "planar"], "objective": ["elbo", "iwae"]},
        {"latent": ["2", "4"]},
        (0, 7),
    )
    assert len(found) == 2 * 2 * 2 * 2
    assert found["planar-iwae-latent4-s7"]["posterior.name"] == "vaeflow/planar"
    assert found["planar-iwae-latent4-s7"]["objective.name"] == "vaeflow/iwae"
    assert found["planar-iwae-latent4-s7"]["latent"] == 4
    assert found["planar-iwae-latent4-s7"]["seed"] == 7


def test_an_option_varies_only_the_parts_that_have_it(cells):
    found = cells({"posterior": ["identity", "planar"]}, {"posterior.steps": ["4", "16"]}, (0, 1))
    assert [*found] == [
        "identity-s0", "identity-s1", "planar-steps4-s0", "planar-steps4-s1",
        "planar-steps16-s0", "planar-steps16-s1",
    ]  # fmt: skip
    assert found["planar-steps16-s0"]["posterior.steps"] == 16
    assert "posterior.steps" not in found["identity-s0"]


def test_a_fixed_option_reaches_only_the_parts_that_have_it(cells):
    found = cells({"posterior": ["identity", "planar"]}, line={"posterior": {"steps": "3"}})
    assert found["planar-s0"]["posterior.steps"] == 3
    assert "posterior.steps" not in found["identity-s0"]


def test_each_cell_starts_from_the_base_layers(cells):
    base = [({"epochs": 7, "posterior": {"name": "planar", "steps": 2}}, "a recipe")]
    found = cells({"posterior": ["planar", "identity"]}, base=base)
    assert found["planar-s0"]["posterior.steps"] == 2
    assert found["identity-s0"]["epochs"] == 7


def test_equal_configurations_make_one_cell(cells):
    assert [*cells(vary={"lr": ["1e-3", "0.001"]})] == ["identity-lr1e-3-s0"]


def test_one_part_and_one_seed_make_one_cell(cells):
    assert [*cells(line={"posterior": {"name": "iaf"}})] == ["iaf-s0"]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"posterior.stps": ["1"]}, "unknown option (did you mean 'steps'?)"),
        ({"latnt": ["1"]}, "--vary latnt: unknown setting (did you mean 'latent'?)"),
        ({"lr.x": ["1"]}, "--vary lr.x: unknown setting"),
        ({"latent": []}, "it has no values"),
        ({"latent": ["two"]}, "--latent: got two, expected integer"),
        ({"seed": ["1", "2"]}, "seeds are given by --seeds"),
    ],
)
def test_invalid_settings_and_values_of_vary_are_refused(cells, vary, message, one_sentence):
    with pytest.raises(ConfigError) as caught:
        cells({"posterior": ["planar", "radial"]}, vary)
    assert message in str(caught.value)
    one_sentence(str(caught.value))


def test_values_are_split_outside_brackets():
    assert split_values("4,16") == ["4", "16"]
    assert split_values("[200,200], [500]") == ["[200,200]", "[500]"]
    assert split_values("") == []


def cell(name, **flat):
    return Cell(name, nest(flat))


def test_a_written_grid_reads_back_equal(tmp_path):
    shared = {"epochs": 3, "prior.name": "normal"}
    grid = Grid(
        (
            cell("a", **shared, **{"posterior.name": "identity"}),
            cell("b", **shared, **{"posterior.name": "planar", "posterior.steps": 4}),
        ),
        way=Way("mixture", 5, 20),
        jobs=2,
    )
    grid.write(tmp_path / "new")
    text = (tmp_path / "new" / "benchmark.toml").read_text()
    assert text.count("epochs") == 1  # common settings stand once
    found = Grid.read(tmp_path / "new")
    assert (found.way, found.jobs) == (Way("mixture", 5, 20), 2)
    assert [(c.name, flatten(c.config)) for c in found.cells] == [
        (c.name, flatten(c.config)) for c in grid.cells
    ]
    assert found.difference(grid) is None


@pytest.mark.parametrize("text", ["", "jobs = 1\n[common]\n[cells]\n"], ids=["half", "no cells"])
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / "benchmark.toml").write_text(f"samples = 3\n{text}")
    with pytest.raises(ConfigError, match="is no grid"):
        Grid.read(tmp_path)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            Grid((cell("a", x=1),), Way("laplace", 9)),
            "the NLL was of proposal laplace and K = 5 and is of proposal laplace and K = 9",
        ),
        (
            Grid((cell("a", x=1),), Way("laplace", 5, 20)),
            "the NLL was of proposal laplace and K = 5 and is of proposal laplace and K = 5 of the "
            "first 20",
        ),
        (
            Grid((cell("b", x=1), cell("a", x=1)), WAY),
            None,
        ),  # a wider grid may replace it
        (Grid((cell("c", x=1),), WAY), "it also has a"),
        (Grid((cell("a", x=2),), WAY), "x of a was 1 and is 2"),
        (Grid((cell("a", x=1, y=3),), WAY), "y of a was none and is 3"),
        (Grid((cell("a", x=1),), WAY, jobs=4), None),  # so may other jobs
    ],
)
def test_another_grid_names_its_first_difference(other, words):
    assert Grid((cell("a", x=1),), WAY).difference(other) == words


def test_a_changed_setting_comes_before_missing_runs():
    ours, theirs = (
        Grid((cell("a", x=1), cell("b", x=1)), WAY),
        Grid((cell("b", x=2),), WAY),
    )
    assert ours.difference(theirs) == "x of b was 1 and is 2"
