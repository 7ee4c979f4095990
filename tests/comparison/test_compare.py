"""Comparisons of runs with constructed figures, for which the answers are known."""

import html
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import stdev

import pytest
import torch

from vaeflow.cli.comparison import print_comparison
from vaeflow.comparison.compare import compare
from vaeflow.comparison.finished import Finished
from vaeflow.comparison.report import check_free, numbers, write
from vaeflow.comparison.report.plot import draw, front
from vaeflow.comparison.report.tables import in_common, tables
from vaeflow.errors import ConfigError
from vaeflow.evaluation import Estimate, ImageBounds, PerImage
from vaeflow.evaluation.active_units import ActiveUnits
from vaeflow.evaluation.findings import Finding, sentences
from vaeflow.evaluation.latent_code import LatentCode
from vaeflow.evaluation.stored import Stored
from vaeflow.runs.directory import Run
from vaeflow.storage import write_file

IMAGES = torch.tensor([10.0, 20.0, 60.0], dtype=torch.float64)


@pytest.fixture
def run(tmp_path):
    def make(posterior, seed, nll, *, threads=1, shift=0.0, config=None, **about):
        values = IMAGES + nll
        exact = torch.zeros(3, dtype=torch.float64)
        figures = ImageBounds(
            elbo=PerImage(-values - 1 - shift, exact),
            log_px=PerImage(-values, exact),
            kl=PerImage(exact + 1, exact),
            nll=PerImage(values, exact),
            under_q=PerImage(values + 2, exact),
            draws=torch.full((3,), 200),
            squared_error=None,
            effective_sample_size=exact,
            pareto_k=exact,
        )
        known = {
            "dataset": "vaeflow/digits", "split": "test", "images": 3, "images_sha256": "a" * 64,
            "binarization": "dynamic", "dequantize": None, "proposal": "laplace",
            "tolerance": 0.05, "max_draws": 10_000, "samples": 100,
        }  # fmt: skip
        name = f"{posterior}-{seed}"
        return Finished(
            name=name,
            run=Run(tmp_path / name),
            config={"seed": seed, "latent": 2, "posterior.name": f"vaeflow/{posterior}"}
            | (config or {}),
            stored=Stored({**known, **about}, figures),
            environment={"data_shape": [1, 2, 2], "threads": threads},
            summary={
                "bits_per_dimension": {"mean": 1.0},
                "dequantize": None,
                "seconds": 60.0 + seed,
                "best_epoch": 5,
            },
            milliseconds=2.0 + seed,
        )

    return make


@pytest.fixture
def six(run):
    """Identity at 1, 2, 3 and planar at 0, 0.1, 0.2 above the images' own NLL."""
    return [run("identity", s, 1.0 + s) for s in range(3)] + [
        run("planar", s, 0.1 * s) for s in range(3)
    ]


def ten(run):
    return 10


def by_kind(comparison):
    """Return the findings by kind, subjects of one kind in their order."""
    found = {}
    for finding in comparison.findings:
        found.setdefault(finding.kind, []).append(finding)
    return found


def subjects(comparison, kind):
    return [finding.subject for finding in by_kind(comparison).get(kind, [])]


def test_groups_are_of_seeds_and_their_errors_over_them(six):
    found = compare(six, parameters=ten)
    assert [(g.label, len(g.runs)) for g in found.groups] == [("identity", 3), ("planar", 3)]
    nll = found.groups[0].bound("nll")
    assert (nll.mean, nll.standard_error) == pytest.approx((32.0, 1 / 3**0.5))
    steps = found.groups[0].mean(lambda r: r.milliseconds)
    assert steps.mean == pytest.approx(3.0)
    bits = found.groups[0].mean(lambda r: r.bits_per_dimension)
    assert bits.mean == pytest.approx(32.0 / (4 * 0.6931472))


def test_differences_are_paired_and_a_finding_each(six):
    found = compare(six, parameters=ten)
    nll = found.versus["planar"].nll
    assert nll.mean == pytest.approx(-1.9)
    assert nll.standard_error == pytest.approx(0.9 / 3**0.5)  # of -1, -1.9 and -2.8
    assert nll.degrees_of_freedom == pytest.approx(2)
    assert [*found.versus] == ["planar"]
    assert found.versus["planar"].elbo.mean == pytest.approx(1.9)
    assert not nll.clear, "with three seeds so far apart"
    assert found.results == [
        Finding(
            "nll-not-distinguishable",
            "planar",
            nll.mean,
            nll.standard_error,
            "result",
            {
                "baseline": "identity",
                "low": nll.low,
                "high": nll.high,
                "covers": "other seeds and other test examples",
                "pairing": "paired by seed (3 shared seeds)",
            },
        )
    ]
    assert str(found.results[0]) == (
        "planar cannot be told apart from identity in NLL, paired by seed (3 shared seeds): the "
        f"difference is -1.90 ± 0.52 nats, 95 % interval {nll.low:.2f} to +{nll.high:.2f}, over "
        "other seeds and other test examples."
    )


def test_the_repr_has_a_line_for_each_group(six):
    assert repr(compare(six, parameters=ten)).splitlines() == [
        "Comparison(",
        "  identity=NLL 32.0 ± 0.6, runs 3,",
        "  planar=NLL 30.10 ± 0.06, runs 3, -1.90 against identity,",
        ")",
    ]


def test_a_clear_difference_reads_as_its_size_without_a_sign(run):
    runs = [run("identity", s, 5.0 + 0.01 * s) for s in range(3)]
    runs += [run("planar", s, 4.0 - 0.01 * s) for s in range(3)]
    runs += [run("radial", s, 6.0 - 0.01 * s) for s in range(3)]
    lower, higher = compare(runs, parameters=ten).results
    assert lower.kind == higher.kind == "nll-differs"
    assert (lower.estimate, higher.estimate) == pytest.approx((-1.02, 0.98))
    assert str(lower) == (
        "planar lowers the NLL by 1.02 ± 0.01 nats against identity, paired by seed (3 shared "
        "seeds): 95 % interval 0.97 to 1.07, over other seeds and other test examples."
    )
    assert str(higher).startswith("radial raises the NLL by 0.98 ± 0.01 nats")


def test_of_one_seed_the_interval_is_of_images(run):
    found = compare([run("identity", 0, 1.0), run("planar", 0, 0.0)], parameters=ten)
    assert found.results[0].details["covers"] == "other test examples, not other seeds"
    assert "against identity, of a single run each: 95 % interval" in str(found.results[0])
    assert (
        "The differences of planar are of a single run each; their 95 % intervals cover other test "
        "examples, not other seeds, which may move them by more: two seeds of each group tell."
    ) in sentences(found.remarks)
    assert subjects(found, "errors-over-images") == ["all groups"]
    assert "errors-over-seeds" not in by_kind(found)
    assert found.groups[0].bound("nll").standard_error == pytest.approx(
        (IMAGES.var() / 3).sqrt().item()
    )


def test_intervals_and_errors_of_two_kinds_are_told_apart(run):
    runs = [run(posterior, s, 0.1 * s) for posterior in ("identity", "planar") for s in range(2)]
    found = compare([*runs, run("iaf", 0, 0.0)], parameters=ten)
    covers = {f.subject: f.details["covers"] for f in by_kind(found)["interval-covers"]}
    assert covers == {
        "planar": "other seeds and other test examples",
        "iaf": "other test examples, not other seeds",
    }
    assert subjects(found, "errors-over-seeds") == [""]
    assert subjects(found, "errors-over-images") == ["iaf"]


def test_runs_without_a_partner_are_left_out_of_the_difference_and_named(run):
    """What a seed does to both is 10 times what planar changes."""
    runs = [run("identity", s, 10.0 * s) for s in range(5)]
    runs += [run("planar", s, 10.0 * s - 1 + 0.01 * s) for s in (1, 3, 4)]
    runs += [run("radial", s, 10.0 * s - 1 + 0.02 * s) for s in (1, 3, 4)]
    found = compare(runs, parameters=ten)
    nll = found.versus["planar"].nll
    assert nll.mean == pytest.approx(-1 + 0.08 / 3)
    assert nll.standard_error == pytest.approx(0.01 * stdev((1, 3, 4)) / 3**0.5)
    told = "paired by seed (3 shared seeds, 2 runs without a partner left out)"
    assert found.results[0].details["pairing"] == told
    assert subjects(found, "runs-without-partner") == ["planar", "radial"]
    assert (
        "identity-0, identity-2 have no partner of their seed: the difference of planar, radial "
        "from identity leaves them out, the other tables do not."
    ) in sentences(found.remarks)
    assert found.groups[0].bound("nll").mean == pytest.approx(30.0 + 20.0), "of all five"


def test_groups_of_other_seeds_are_not_paired(run):
    runs = [run("identity", s, 1.0 + s) for s in range(3)]
    runs += [run("planar", s, 0.1 * s) for s in range(2, 7)]
    found = compare(runs, parameters=ten)
    assert found.versus["planar"].nll.mean == pytest.approx(0.4 - 2.0)
    told = "The differences of planar are not paired by seed (5 runs against 3, only 1 shared seed)"
    assert any(said.startswith(told) for said in sentences(found.remarks))
    assert "runs-without-partner" not in by_kind(found)


def test_labels_name_the_settings_in_which_groups_differ(run):
    runs = [run("identity", 0, 1.0)]
    for steps in (4, 16):
        runs.append(run("planar", 0, 0.0, config={"posterior.steps": steps}))
    found = compare(runs, parameters=ten)
    assert [g.label for g in found.groups] == ["identity", "planar (steps 4)", "planar (steps 16)"]
    assert [v.baseline for v in found.versus.values()] == ["identity", "identity"]


def test_the_baseline_is_the_one_that_is_alike_in_all_else(run):
    runs = [
        run(posterior, 0, nll, config={"latent": latent})
        for posterior, nll in (("identity", 1.0), ("planar", 0.0))
        for latent in (2, 4)
    ]
    found = compare(runs, parameters=ten)
    assert {k: v.baseline for k, v in found.versus.items()} == {
        "planar (latent 2)": "identity (latent 2)",
        "planar (latent 4)": "identity (latent 4)",
    }


def test_another_baseline_can_be_asked_for(six, one_sentence):
    found = compare(six, parameters=ten, baseline="planar")
    assert {k: v.baseline for k, v in found.versus.items()} == {"identity": "planar"}
    with pytest.raises(ConfigError) as caught:
        compare(six, parameters=ten, baseline="plaanar")
    assert "(did you mean 'planar'?); the groups are identity, planar" in str(caught.value)
    one_sentence(str(caught.value))
    found = compare(six, parameters=ten, baseline="plaanar", lenient=True)
    assert (len(found.groups), found.versus) == (2, {})
    (finding,) = by_kind(found)["baseline-unknown"]
    assert (finding.subject, finding.details) == ("plaanar", {"reason": str(caught.value)})


def test_a_group_that_fits_several_baselines_is_compared_with_none(run):
    runs = [run("identity", 0, 1.0)]
    runs += [run("planar", 0, 0.0, config={"posterior.steps": steps}) for steps in (4, 16)]
    found = compare(runs, parameters=ten, baseline="planar")
    assert not found.versus
    assert subjects(found, "baseline-not-unique") == ["identity"]
    found = compare(runs, parameters=ten, baseline="planar (steps 4)")
    assert [*found.versus] == ["identity", "planar (steps 16)"]


def test_without_a_baseline_there_are_no_differences(run):
    found = compare([run("planar", 0, 0.0), run("radial", 0, 1.0)], parameters=ten)
    assert not found.versus
    assert subjects(found, "baseline-missing") == ["identity"]
    assert compare([run("planar", 0, 0.0)], parameters=ten).notes
    assert not compare([run("identity", 0, 0.0)], parameters=ten).notes


def test_groups_of_one_posterior_are_compared_once_one_is_named(run):
    runs = [run("identity", 0, 0.0, config={"latent": latent}) for latent in (2, 4)]
    (finding,) = compare(runs, parameters=ten).notes
    assert (finding.kind, finding.subject) == ("baseline-not-named", "identity")
    assert "such as --baseline 'identity (latent 2)'." in str(finding)
    found = compare(runs, parameters=ten, baseline="identity (latent 2)")
    assert [*found.versus] == ["identity (latent 4)"]
    assert "settings-differ" not in by_kind(found)


def test_groups_that_leave_the_code_unused_are_named(run):
    def coded(posterior, active, undecided=0):
        found = run(posterior, 0, 0.0)
        units = ActiveUnits(active, undecided, 3, [])
        code = LatentCode(3, 2, units, Estimate(0.0, 0.0), None, None)
        return replace(found, stored=replace(found.stored, code=code))

    runs = [coded("identity", 0), coded("planar", 0), coded("iaf", 1), coded("radial", 0, 1)]
    found = compare(runs, parameters=ten)
    assert subjects(found, "unused-code") == ["identity", "planar"]
    assert by_kind(found)["unused-code"][0].details == {"active_units": 0.0}
    (said,) = (text for text in sentences(found.remarks) if "unused" in text)
    assert said.startswith("The latent code of identity, planar is unused (0 active units)")
    assert "unused-code" not in by_kind(compare(runs[2:], parameters=ten))


def test_settings_that_differ_besides_the_posterior_are_named(run):
    runs = [run("identity", 0, 1.0, config={"epochs": 3, "batch_size": 5, "device": "cpu"})]
    runs += [
        run(posterior, 0, 0.0, config={"epochs": 4, "batch_size": 6, "device": "auto"})
        for posterior in ("planar", "iaf")
    ]
    found = compare(runs, parameters=ten)
    planar, iaf = by_kind(found)["settings-differ"]
    assert planar.details == iaf.details == {"settings": ["epochs", "batch size"]}
    (said,) = (text for text in sentences(found.remarks) if "only difference" in text)
    assert "between planar (" in said
    assert ", iaf (" in said
    assert said.endswith("they differ in epochs, batch size too.")


def test_groups_whose_weights_are_not_to_be_trusted_are_named(run):
    trusted, other = run("identity", 0, 1.0), run("planar", 0, 0.0)
    other.stored.bounds.pareto_k[:] = torch.tensor([0.8, 0.9, torch.nan])
    (finding,) = by_kind(compare([trusted, other], parameters=ten))["weights-not-trusted"]
    assert (finding.subject, finding.severity) == ("planar", "warning")
    assert finding.details == {"share": pytest.approx(2 / 3), "limit": 0.7}
    assert "above 0.7 for 67% of the examples of planar: the NLL there is not" in str(finding)


def test_the_difference_under_q_stands_beside_that_of_the_nll(run):
    def table(**about):
        runs = [run("identity", 0, 1.0, **about), run("planar", 0, 0.0, **about)]
        bounds, differences = tables(compare(runs, parameters=ten))[:2]
        return bounds.headings, dict(zip(differences.headings, differences.rows[0], strict=False))

    headings, row = table()
    assert "bound under q" in headings
    assert row["bound under q"] == row["NLL"] == "-1.00 ± 0.00"
    headings, row = table(proposal="q", tolerance=None, max_draws=None)
    assert "bound under q" not in (*headings, *row)  # it is the NLL


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"dataset": "vaeflow/mnist"}, "the data set, vaeflow/digits and vaeflow/mnist"),
        ({"images_sha256": "b" * 64}, "the images' checksum, aaaaaaaaaaaa and bbbbbbbbbbbb"),
        ({"split": "train"}, "the split, test and train"),
        ({"binarization": "none"}, "the binarization, dynamic and none"),
        ({"dequantize": 256}, "the dequantization, none and 256"),
        ({"samples": 7}, "K, 100 and 7"),
        ({"proposal": "q"}, "the proposal of the NLL, laplace and q"),
        ({"tolerance": 0.5}, "the tolerance of the NLL, 0.05 and 0.5"),
        ({"max_draws": 50}, "the largest number of draws, 10000 and 50"),
    ],
)
def test_runs_on_other_data_are_refused_unless_asked(run, one_sentence, about, said):
    runs = [run("identity", 0, 1.0), run("planar", 0, 0.0, **about)]
    with pytest.raises(ConfigError) as caught:
        compare(runs, parameters=ten)
    assert str(caught.value).startswith(
        f"identity-0 and planar-0 are not comparable, as they differ in {said}: leave some out"
    )
    one_sentence(str(caught.value))
    found = compare(runs, parameters=ten, anyway=True)
    (finding,) = by_kind(found)["not-comparable"]
    assert said in str(finding)
    same_images = "images_sha256" not in about
    assert bool(found.versus) == same_images  # images that differ cannot be paired


def test_probabilities_and_densities_are_not_compared(run):
    density = run("planar", 0, 0.0)
    density.summary["bits_per_dimension"] = None
    with pytest.raises(ConfigError, match="what is scored, probabilities and densities"):
        compare([run("identity", 0, 1.0), density], parameters=ten)


def test_a_seed_that_is_there_twice_counts_once(run, six, tmp_path):
    found = compare([*six, run("planar", 2, 0.0)], parameters=ten)
    assert len(found.groups[1].runs) == 3
    (left_out,) = found.unfinished
    assert (left_out.kind, left_out.subject) == ("run-repeated", "planar-2")
    assert str(left_out) == "the same configuration and seed as planar-2, so left out"


def test_threads_that_differ_are_noted_but_make_no_group(run):
    runs = [run("planar", s, 0.0, threads=s + 1, config={"threads": s + 1}) for s in range(2)]
    found = compare(runs, parameters=ten)
    assert len(found.groups) == 1
    assert "threads-differ" in by_kind(found)


def test_nothing_finished_is_an_error():
    with pytest.raises(ConfigError, match="no run is finished, x: it burns"):
        compare([Finding("run-failed", "x", details={"reason": "it burns"})], parameters=ten)


@pytest.fixture
def written(six, tmp_path):
    failed = Finding("run-failed", "iaf-0", details={"reason": "<b>no & no</b>"})
    found = compare([*six, failed], parameters=ten)
    of = check_free(tmp_path / "out", [r.run.path for r in six])
    write(found, tmp_path / "out", of)
    return found, tmp_path / "out"


def test_all_files_hold_all_tables(written):
    found, out = written
    page, text = (out / "report.html").read_text("utf-8"), (out / "report.md").read_text("utf-8")
    for table in (*tables(found), in_common(found)):
        assert table.title in page
        assert table.title in text
        for row in table.rows:
            assert f"| {' | '.join(row)} |" in html.unescape(text)
            if "no & no" not in row[-1]:
                assert "".join(f"<td>{cell}</td>" for cell in row) in page
    for sentence in sentences(found.findings):
        assert html.escape(sentence) in page
        assert f"- {sentence}\n" in html.unescape(text)
    # A reason that a run's files give is no HTML, in either.
    assert "| iaf-0 | &lt;b>no &amp; no&lt;/b> |" in text
    assert "<b>" not in page
    # Of the runs left out, and of what all have in common.
    assert page.count('<table class="words">') == 2
    found = json.loads((out / "report.json").read_text())
    assert [finding["kind"] for finding in found["findings"]][:2] == [
        "nll-not-distinguishable", "evaluated-on"
    ]  # fmt: skip
    assert [finding["subject"] for finding in found["unfinished"]] == ["iaf-0"]
    assert found["groups"][1]["nll_difference_mean"] == pytest.approx(-1.9)
    names = [run["name"] for group in found["groups"] for run in group["runs"]]
    assert names == [f"{p}-{s}" for p in ("identity", "planar") for s in range(3)]
    header, *rows = (out / "report.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["identity", "planar"]
    assert float(rows[1].split(",")[header.split(",").index("nll")]) == pytest.approx(30.1)
    told = "paired by seed (3 shared seeds)"
    assert found["groups"][1]["pairing"] == told
    assert rows[1].split(",")[header.split(",").index("pairing")] == told
    assert told in text
    assert told in page
    assert "| planar | identity | 3 paired |" in text


def test_the_page_needs_no_other_file(written):
    page = (written[1] / "report.html").read_text("utf-8")
    assert "data:image/png;base64," in page
    assert not [word for word in ("http:", "https:", "<script", "<link", 'src="r') if word in page]
    assert "<b>no" not in page  # text is escaped
    assert "&lt;b&gt;no &amp; no" in page


def test_only_shared_settings_stand_in_the_common_table(run):
    config = {"encoder.name": "vaeflow/mlp", "encoder.hidden": [8, 8], "prior.name": "a/b"}
    runs = [run("identity", 0, 1.0, config={**config, "lr": 0.1, "batch_size": 5})]
    runs += [run("planar", 0, 1.0, config={**config, "lr": 0.2, "batch_size": 5})]
    said = in_common(compare(runs, parameters=ten))
    first = "settings, if not the defaults"
    assert said.rows == (
        (first, "latent 2, batch size 5"), ("encoder mlp", "hidden 8,8"), ("prior a/b", "")
    )  # fmt: skip
    usual = {"epochs": 100, "lr": 1e-3, "lr_milestones": [], "capture": True, "clip": 1.0}
    config = {**usual, "posterior.steps": 3}
    said = in_common(compare([run("iaf", 0, 1.0, config=config)], parameters=ten))
    assert said.rows == ((first, "latent 2, clip 1"), ("posterior iaf", "steps 3"))


def test_single_runs_list_the_facts_in_which_they_differ(run):
    runs = [run("identity", 0, 1.0, epoch=3), run("planar", 0, 0.0, epoch=5, samples=7)]
    found = numbers.as_json(compare(runs, parameters=ten, anyway=True))
    assert set(found["about"]) == {
        "dataset", "split", "images", "images_sha256", "binarization", "dequantize", "samples",
        "proposal", "tolerance", "max_draws",
    }  # fmt: skip
    one, other = (group["runs"][0] for group in found["groups"])
    assert (one["epoch"], "samples" in one) == (3, False)
    assert (other["epoch"], other["samples"]) == (5, 7)


def test_the_plot_is_drawn_again_from_the_numbers(written):
    out = written[1]
    assert draw(json.loads((out / "report.json").read_text())) == (out / "report.png").read_bytes()


def test_a_report_of_an_earlier_version_is_drawn_and_renewed(tmp_path):
    stored = Path(__file__).parents[2] / "benchmarks" / "results" / "elbo_digits.json"
    report = json.loads(stored.read_text("utf-8"))["report"]
    for group in report["groups"]:
        group.pop("pairing", None)  # as before runs were paired by seed
    assert draw(report)
    (tmp_path / "report.json").write_text(json.dumps(report), "utf-8")
    runs = [tmp_path / path for path in report["of"]]
    assert check_free(tmp_path, runs) == sorted(report["of"])


def points(count):
    """Figures of groups that lie on each other, all but the last."""
    return {
        "about": {"samples": 9},
        "groups": [
            {"label": f"planar (steps {i})", "ms_per_step": 1.0 + (i == count - 1), "nll": 80.0}
            for i in range(count)
        ],
    }


@pytest.mark.parametrize("count", [1, 2, 15, 40])
def test_each_group_has_a_look_of_its_own_and_its_name_beside_the_plot(count, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *words, **more: drawn.append(figure))
    draw(points(count))
    (figure,) = drawn
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*(f"planar (steps {i})" for i in range(count)), "Pareto front"]
    looks = {(c.lines[0].get_marker(), c.lines[0].get_color()) for c in axes.containers}
    assert len(looks) == count
    (line,) = (line for line in axes.lines if line.get_label() == "Pareto front")
    assert [*line.get_xdata()] == [1 if count > 1 else 2, 2]  # it reaches the slowest
    boxes = [text.get_window_extent() for text in legend.get_texts()]
    assert all(one.y0 >= other.y1 - 1 for one, other in pairwise(boxes))
    assert legend.get_window_extent().x0 > axes.get_window_extent().x1
    assert legend.get_window_extent().y0 >= 0


def test_the_front_holds_the_groups_that_no_other_beats_in_both():
    groups = [
        {"ms_per_step": time, "nll": nll} for time, nll in ((3, 7), (1, 9), (2, 9), (4, 8), (3, 8))
    ]
    assert front(groups) == [(1, 9), (3, 7)]


def test_a_report_that_was_cut_off_is_written_again(six, tmp_path, monkeypatch):
    found = compare(six, parameters=ten)
    left = [write_file, write_file]

    def write_or_die(path, content):
        left.pop()(path, content)

    monkeypatch.setattr("vaeflow.comparison.report.write_file", write_or_die)
    of = check_free(tmp_path, [r.run.path for r in six])
    with pytest.raises(IndexError):
        write(found, tmp_path, of)
    assert check_free(tmp_path, [r.run.path for r in six]) == of


def test_a_report_is_renewed_but_no_other_is_overwritten(written, six, one_sentence):
    out = written[1]
    paths = [r.run.path for r in six]
    assert check_free(out, paths) == check_free(out, paths[::-1])
    assert len(check_free(out, [*paths, out / "another"])) == 7  # more of them are a wider report
    with pytest.raises(ConfigError) as caught:
        check_free(out, paths[:2])
    assert "its report.md is of other runs, and nothing is overwritten" in str(caught.value)
    one_sentence(str(caught.value))
    (out / "report.json").unlink()
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        check_free(out, paths)


HOSTILE = "\x1b[2J$\\frac{$ <script>alert(1)</script> ![x](https://evil.example/x.png) & | \x9b0m"


def test_text_from_files_is_text_in_every_report(six, run, tmp_path, capsys):
    """The names of runs and their errors may have been written by anybody."""
    odd = [
        replace(r, name=f"{HOSTILE}{i}", config={**r.config, "posterior.file": HOSTILE})
        for i, r in enumerate(six[:3])
    ]
    failed = Finding("run-failed", HOSTILE, details={"reason": HOSTILE})
    found = compare([*odd, *six, failed], parameters=ten, baseline="planar")
    of = check_free(tmp_path, [r.run.path for r in six])
    write(found, tmp_path, of)
    print_comparison(found)
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert "\x9b" not in told.out + told.err
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text("utf-8")
        assert "\x1b" not in text
        assert "<script" not in text
        assert r"\x1b" in text
    assert "](https" in (tmp_path / "report.md").read_text("utf-8")
    assert "![" not in (tmp_path / "report.md").read_text("utf-8").replace("![NLL against", "")
    assert (tmp_path / "report.png").stat().st_size > 10_000
