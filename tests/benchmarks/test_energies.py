"""The benchmark of energies, in small."""

from click.testing import CliRunner
from PIL import Image


def run(script, tmp_path, *names):
    args = ["--quick", "--runs", str(tmp_path), *(a for name in names for a in ("--only", name))]
    result = CliRunner().invoke(script.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_runs_for_some_posteriors_add_up_to_one_table_and_picture(script, tmp_path):
    first = run(script, tmp_path, "identity")
    assert first.count("±") > 5
    second = run(script, tmp_path, "planar", "identity")
    made = [
        line for line in second.splitlines() if ": " in line and "±" in line and "|" not in line
    ]
    assert made
    assert all(line.startswith("planar") for line in made)  # the others were there
    rows = [line.split("|")[1:3] for line in second.splitlines() if line.startswith("| ")]
    sizes = {(name.strip(), size.strip()) for name, size in rows}
    assert {("identity", ""), ("planar", "2"), ("planar", "8")} <= sizes
    with Image.open(tmp_path / "quick" / "energies.png") as image:
        assert min(image.size) > 100


def test_the_distance_of_a_known_posterior_is_its_closed_form(script):
    import torch

    from vaeflow.distributions.gaussian import DiagonalNormal

    def best(h):  # of the diagonal Gaussians
        zero = torch.zeros(1, 2)
        return DiagonalNormal(zero, zero + torch.tensor(1 - 0.9**2).log())

    torch.manual_seed(0)
    p = script.correlated_gaussian(0.9)
    kl, error = script.divergence(best, p, script.Budget())
    assert abs(kl - 0.8304) < 5 * error
    assert error < 0.01
