"""zuko's flows keep vaeflow's contract, and the package that of a plugin."""

import subprocess
import sys

import pytest
from vaeflow_zuko.hooks import FAMILIES

from vaeflow.testing import NotApplicable, checks

# What takes long, and `vaeflow plugins check vaeflow-zuko` does: a fine grid, or thousands of
# draws, through bisections and quadratures. In test_flows.py, priors integrate to one on a coarser
# grid and score their draws as they draw them.
SLOW = {
    **{
        ("prior", family): (
            "is_a_density_over_the_latent_space", "draws_follow_the_density",
            "keeps_its_density_for_options_together",
        )
        for family in ("NSF", "BPF", "NAF", "CNF")
    },
    ("prior", "UNAF"): (
        "is_a_density_over_the_latent_space", "draws_follow_the_density",
        "repeats_its_draws_with_the_seed", "is_the_same_however_it_is_called",
        "keeps_its_density_for_options_together",
    ),
    # Thousands of solutions of an ODE; its Jacobian and its cover of the plane are checked.
    ("posterior", "CNF"): (
        "weights_average_to_one", "log_q_matches_at_every_size", "is_the_same_at_every_call",
        "log_q_matches_for_options_together", "is_the_same_for_any_number",
        "keeps_its_digits_where_it_contracts", "no_z_has_two_noises", "gradients_match_for_many",
    ),
    # A quadrature for each dimension, with a gradient for each of its points.
    ("posterior", "UNAF"): (
        "log_q_matches_at_every_size", "is_the_same_for_any_number", "no_z_has_two_noises",
        "scores_its_draws_from_outside",
    ),
}  # fmt: skip


def pairs():
    for kind in ("posterior", "prior"):
        for family in FAMILIES:
            for check in checks(kind):
                if check.name not in SLOW.get((kind, family), ()):
                    yield pytest.param(kind, family, check, id=f"{kind}-{family}-{check.name}")


@pytest.mark.parametrize(("kind", "family", "check"), list(pairs()))
def test_part(small, kind, family, check):
    try:
        check(small(kind, family))
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("check", checks("package"), ids=lambda check: check.name)
def test_package(check):
    check("vaeflow-zuko")


@pytest.mark.parametrize("setting", [True, False])
def test_validation_of_distributions_stays_as_it_was(setting):
    code = (
        "from torch.distributions import Distribution as D;"
        f"D.set_default_validate_args({setting});"
        "import vaeflow_zuko.posteriors, vaeflow_zuko.priors, zuko, sys;"
        f"sys.exit(D._validate_args is not {setting})"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
