"""Findings: data first, a sentence on request."""

import re
from pathlib import Path

import vaeflow
from vaeflow.evaluation import Estimate
from vaeflow.evaluation.findings import Finding, sentences
from vaeflow.evaluation.sentences import SENTENCES


def test_an_estimate_brings_its_size_and_error():
    finding = Finding.of(
        "family-closes", "planar", Estimate(0.612, 0.0123), left=Estimate(0.2, 0.1)
    )
    assert (finding.estimate, finding.error, finding.severity) == (0.612, 0.0123, "result")
    assert str(finding) == (
        "A local planar q closes 0.61 ± 0.01 nats of the family's share and leaves 0.2 ± 0.1."
    )
    assert finding.as_dict() == {
        "kind": "family-closes",
        "subject": "planar",
        "estimate": 0.612,
        "error": 0.0123,
        "severity": "result",
        "details": {
            "left": {"mean": 0.2, "standard_error": 0.1, "monte_carlo_error": None},
        },
        "sentence": str(finding),
    }


def test_a_single_image_lends_the_error_of_its_draws():
    finding = Finding.of("gap-not-split", "gap", Estimate(1.0, None, 0.1))
    assert finding.error == 0.1
    assert Finding.of("gap-not-split", "gap", Estimate(1.0, None)).error is None


def test_findings_that_differ_in_their_subject_alone_share_a_sentence():
    other = Finding("errors-over-seeds")
    one, two = (Finding("errors-over-images", s) for s in "ab")
    three = Finding("images-differ", "c", details={"baseline": "d"})
    assert sentences([one, other, two, three]) == [
        "± is the standard error over examples, not over seeds, for a, b: one seed each.",
        "± is the standard error over seeds.",
        "c and d are of other examples: no difference.",
    ]
    four = Finding("images-differ", "c", details={"baseline": "e"})
    assert len(sentences([three, four])) == 2


def test_every_kind_is_found_somewhere_and_has_a_sentence():
    folder = Path(vaeflow.__file__).parent
    source = "".join(
        path.read_text("utf-8") for path in folder.rglob("*.py") if path.name != "sentences.py"
    )
    assert [kind for kind in SENTENCES if f'"{kind}"' not in source] == []
    made = re.findall(r'(?:Finding(?:\.of)?|finding)\(\s*"([a-z-]+)"', source)
    assert len(set(made)) > 25
    assert set(made) <= SENTENCES.keys()
