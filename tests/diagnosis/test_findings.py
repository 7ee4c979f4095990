"""The findings of made-up measurements, each branch once."""

import dataclasses
import json

import pytest
import torch

from vaeflow.diagnosis.calibration import Calibration
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.diagnosis.gaps import split_gap
from vaeflow.diagnosis.local_bounds import LocalBounds
from vaeflow.diagnosis.measured import Bracket
from vaeflow.evaluation import Estimate, PerImage
from vaeflow.evaluation.active_units import ActiveUnits
from vaeflow.evaluation.findings import sentences


def figure(mean, error=0.01, wave=1, n=100):
    """Values with this mean and standard error over images; two waves are uncorrelated."""
    values = torch.cos(wave * torch.pi * (torch.arange(n).double() + 0.5) / n)
    return PerImage(mean + values / values.std() * error * n**0.5, torch.full((n,), error).double())


def made(approximation, amortization, closed=0.0, *, error=0.01, width=0.01, **changed):
    zero = figure(0.0, 0.0)
    best = figure(-approximation, error)
    elbo = PerImage(best.values - figure(amortization, error, 2).values, best.errors)
    richer = PerImage(best.values + figure(closed, error, 3).values, best.errors)
    local = {
        name: LocalBounds(bound, zero, gain=0.2, converged=True)
        for name, bound in {"identity": best, "planar": richer}.items()
    }
    plain = Diagnosis(
        samples=10,
        elbo=elbo,
        log_px={"IWAE": zero},
        bracket=Bracket(zero, "IWAE", figure(width, 0.001)),
        local=local,
        gaps=split_gap(elbo, best, {"IWAE": zero}, {"planar": richer}),
        calibration=None,
        log_dets=None,
        units=counted(3, 0),
    )
    return dataclasses.replace(plain, **changed)


def counted(active, undecided):
    return ActiveUnits(active, undecided, 100, [Estimate(0.1, 0.1)] * 3)


def by_kind(diagnosis):
    return {finding.kind: finding for finding in diagnosis.findings}


def test_a_split_is_found_with_its_errors():
    found = made(0.8, 1.3, 0.6).findings
    assert [f.kind for f in found] == ["gap-split", "family-closes", "bracket"]
    split, closes, bracket = found
    assert (split.estimate, split.error) == pytest.approx((2.1, 0.01 * 2**0.5), rel=1e-3)
    assert split.details["approximation"].mean == pytest.approx(0.8)
    assert split.details["amortization"].mean == pytest.approx(1.3)
    assert (closes.subject, closes.estimate) == ("planar", pytest.approx(0.6))
    assert closes.details["left"].mean == pytest.approx(0.2)
    assert (bracket.estimate, bracket.error) == pytest.approx((0.01, 0.001))
    assert [f.severity for f in found] == ["result", "result", "note"]


def test_a_split_reads_as_three_sentences():
    assert sentences(made(0.8, 1.3, 0.6).findings) == [
        "Of 2.10 ± 0.01 nats between log p(x) and the ELBO, 0.80 ± 0.01 are lost to the family of "
        "q (approximation), 1.30 ± 0.01 to the encoder (amortization).",
        "A local planar q closes 0.60 ± 0.01 nats of the family's share and leaves 0.20 ± 0.01.",
        "On 100 simulated examples the bounds on log p(x) from both sides are 0.010 ± 0.001 nats "
        "apart: at most as much may be missing from log p(x) and from the family's share.",
    ]


@pytest.mark.parametrize(
    ("figures", "kind", "subject", "estimate"),
    [
        ((0.8, 0.015), "share-not-distinguishable", "encoder", 0.015),
        ((0.015, 0.8), "share-not-distinguishable", "family", 0.015),
        ((0.01, 0.01), "gap-not-distinguishable", "log p(x) − ELBO", 0.02),
        ((0.9, -0.2), "encoder-beats-local", "identity", 0.2),
        ((0.8, 1.3, 0.01), "family-not-distinguishable", "planar", 0.01),
        ((0.8, 1.3, -0.3), "optimization-failed", "planar", 0.3),
    ],
)
def test_an_unsure_or_failed_part_has_a_finding_of_its_own(figures, kind, subject, estimate):
    finding = by_kind(made(*figures))[kind]
    assert (finding.subject, finding.estimate) == (subject, pytest.approx(estimate))


def test_a_gap_of_nothing_is_not_split():
    assert "gap-split" not in by_kind(made(0.01, 0.01))


def test_a_flow_that_its_gaussian_beats_is_not_blamed_for_the_difference():
    plain = made(0.8, 1.3)
    best, other = plain.local["identity"].elbo, figure(-0.5)
    local = {
        name: LocalBounds(bound, other, gain=0.0, converged=True)
        for name, bound in {"planar": best, "identity": other}.items()
    }
    gaps = split_gap(plain.elbo, best, {"IWAE": figure(0.0, 0.0)}, {"identity": other})
    stuck = dataclasses.replace(plain, local=local, gaps=gaps)
    split, failed = stuck.findings[:2]
    assert split.details["bounds_only"]
    assert split.details["approximation"].mean == pytest.approx(0.5)
    assert split.details["amortization"].mean == pytest.approx(1.6)
    assert "at most 0.50 ± 0.01 are lost to the family" in str(split)
    assert "at least 1.60 ± 0.0" in str(split)
    assert (failed.kind, failed.subject) == ("optimization-failed", "planar")
    assert (failed.estimate, failed.details["contained"]) == (pytest.approx(0.3), "identity")
    assert "family-closes" not in by_kind(stuck)
    local = {"mine/planar": local["planar"], "identity": local["identity"]}
    unknown = by_kind(dataclasses.replace(plain, local=local, gaps=gaps))
    assert not unknown["gap-split"].details["bounds_only"]
    assert unknown["family-closes"].estimate == pytest.approx(0.3)


def test_an_unused_code_comes_first():
    first = made(0.01, 0.3, units=counted(0, 0)).findings[0]
    assert (first.kind, first.severity) == ("unused-code", "warning")
    assert str(first).startswith("The latent code of the model is unused (0 active units)")
    assert "unused-code" not in by_kind(made(0.01, 0.3))


def test_units_that_are_undecided_are_told():
    """A code that may be in use is not called unused."""
    found = by_kind(made(0.01, 0.3, units=counted(0, 2)))
    assert "unused-code" not in found
    assert found["units-undecided"].severity == "note"
    assert str(found["units-undecided"]) == (
        "Of 3 latent dimensions 0 are active and 2 undecided from 100 examples: more --images tell."
    )
    assert "units-undecided" not in by_kind(made(0.01, 0.3))


def test_a_doubtful_bracket_is_told_with_the_split():
    split = made(0.8, 1.3, width=0.22).findings[0]
    assert split.details["may_be_missing"] == pytest.approx(0.222)
    assert "0.80 ± 0.01 (or up to 0.22 more, as log p(x) may be higher) are" in str(split)
    assert made(0.8, 1.3, width=0.2).findings[0].details["may_be_missing"] is None


@pytest.mark.parametrize(
    ("figures", "width", "kind"),
    [
        ((0.8, 1.3), 0.22, "bracket-too-wide"),
        ((0.8, 1.3), 0.2099, "bracket-unsure"),  # of 0.21, ± 0.001
        ((0.8, 1.3), 0.2, "bracket"),  # a tenth of the gap
        ((0.2, 0.3), 0.11, "bracket-too-wide"),
        ((0.2, 0.3), 0.09, "bracket"),
        ((0.2, 0.3), 0.001, "bracket-closed"),
    ],
)
def test_a_bracket_is_judged_by_its_width(figures, width, kind):
    finding = made(*figures, width=width).findings[-1]
    assert finding.kind == kind
    assert (finding.severity == "warning") == (kind in ("bracket-too-wide", "bracket-unsure"))
    assert finding.details["images"] == 100


def test_an_optimization_without_a_plateau_is_a_warning():
    found = made(0.8, 1.3, 0.6)
    local = {n: dataclasses.replace(b, converged=False) for n, b in found.local.items()}
    own, other = dataclasses.replace(found, local=local).findings[2:4]
    assert own.kind == other.kind == "not-converged"
    assert (own.severity, own.estimate) == ("warning", 0.2)
    assert (own.subject, own.details["own"]) == ("identity", True)
    assert (other.subject, other.details["own"]) == ("planar", False)
    assert str(own).endswith(
        "the family's share may be smaller than that, and the encoder's larger."
    )
    assert str(other).endswith("(its last round gained 0.2 nats): it may be better than that.")


@pytest.mark.parametrize(
    ("power", "shape"),
    [
        (lambda u: u, None),
        (lambda u: u**1.3, "high"),
        (lambda u: u**0.7, "low"),
        (lambda u: 0.5 + 4 * (u - 0.5) ** 3, "wide"),
        (lambda u: 0.5 + 0.5 * (2 * (u - 0.5)).abs().sqrt() * (u - 0.5).sign(), "narrow"),
    ],
)
def test_calibration_tells_how_q_is_wrong(power, shape):
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(1000, 2, generator=generator).double()
    u[:, 1] = power(u[:, 1])
    calibration = Calibration.of((u * 100).long().clamp(max=99), 99, 20)
    finding = made(0.8, 1.3, calibration=calibration).findings[-1]
    if shape is None:
        assert (finding.kind, finding.subject) == ("calibration-passed", "q")
        return
    assert (finding.kind, finding.subject) == ("calibration-failed", "z_2")
    assert (finding.details["wrong"], finding.details["latent"]) == (1, 2)
    assert finding.details["shape"] == shape


def test_the_p_value_is_corrected_for_the_number_of_dimensions():
    """A dimension of p = 0.03 is nothing strange among twenty."""
    ranks = torch.arange(100)[:, None].expand(-1, 20)
    plain = Calibration.of(ranks, 99, 20)
    for p, kind, corrected in (
        (0.03, "calibration-passed", 0.6),
        (0.001, "calibration-failed", 0.02),
    ):
        values = plain.p_value.clone()
        values[3] = p
        calibration = dataclasses.replace(plain, p_value=values)
        finding = made(0.8, 1.3, calibration=calibration).findings[-1]
        assert (finding.kind, finding.details["p_value"]) == (kind, pytest.approx(corrected))


def test_findings_are_plain_json_with_their_sentences():
    told = json.loads(json.dumps(made(0.8, 1.3, 0.6).as_dict(), allow_nan=False))["findings"]
    assert told[1]["kind"] == "family-closes"
    assert told[1]["details"]["left"]["mean"] == pytest.approx(0.2)
    assert told[1]["sentence"].startswith("A local planar q closes")


def test_the_repr_of_a_diagnosis_has_a_line_for_each_number():
    calibration = Calibration.of(torch.arange(100)[:, None].expand(-1, 20), 99, 20)
    lines = repr(made(0.8, 1.3, 0.6, calibration=calibration)).splitlines()
    assert lines[0] == "Diagnosis("
    assert "  total=2.10 ± 0.01," in lines
    assert "  approximation=0.80 ± 0.01," in lines
    assert "  closed by planar=0.60 ± 0.01," in lines
    assert not any("tensor" in line or len(line) > 80 for line in lines)
