"""Formulas in LaTeX as plain text, and the docstrings of all parts without its marks."""

from __future__ import annotations

import inspect

import pytest

from vaeflow.cli.formulas import formula, plain
from vaeflow.options import describe
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import KINDS

PARTS = [part for kind in KINDS for part in load_plugins().registry.parts(kind)]


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\log p(x|z) = \sum_i x_i l_i - \log(1 + e^{l_i})",
         "log p(x|z) = Σ_i x_i l_i − log(1 + e^(l_i))"),
        (r"\log\frac{e^{η} - 1}{\hat β}", "log((e^η − 1)/β̂)"),
        (r"\frac1K \sum_{k=1}^K \tilde w_k^2\, ∂z_k", "1/K Σ_(k=1)^K w̃_k² ∂z_k"),
        (r"\frac{(x_i - μ_i)^2}{2σ_i^2}", "(x_i − μ_i)²/(2σ_i²)"),
        (r"\tfrac{1}{2(L - 1)} \frac{a}{bc} \frac{v·z}{‖v‖^2} \frac{Γ(a)}{Γ(b)}",
         "1/(2(L − 1)) a/(bc) (v·z)/‖v‖² Γ(a)/Γ(b)"),
        (r"\log\Big(σ\big(\tfrac{x + w}{s}\big)\Big)", "log(σ((x + w)/s))"),
        (r"\mathrm{MADE}_t(z_{t-1}, h)", "MADE_t(z_(t−1), h)"),
        (r"l_{i, k_i} + r_{1i} \tanh'(a)", "l_(i, k_i) + r_1i tanh'(a)"),
        (r"\log|\det ∂f_t| \log\sum_k w_k", "log|det ∂f_t| log Σ_k w_k"),
        (r"\sqrt{2π} + \sqrt{n} + \sqrt σ", "√(2π) + √n + √σ"),
        (r"x^{10} e^{-1} e^{-x^2} Q^T J^{-⊤}", "x¹⁰ e⁻¹ e^(−x²) Q^T J^(−⊤)"),
        (r"\left( \frac12 \right)^2 \left.f\right|_0", "(1/2)² f|_0"),
        (r"\alpha \Lambda \varepsilon \le \infty \sim \mathcal{N}(\mu, 1)", "α Λ ε ≤ ∞ ~ N(μ, 1)"),
        (r"\mathrm{KL}(q \,\|\, p), \quad \{ x \}", "KL(q ‖ p),\n{ x }"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "a = b\nc = d"),
        (r"\operatorname*{argmax}_x f, \text{ or else}", "argmax_x f, or else"),
        (r"\frac", "()/()"),  # unfinished: no error
    ],
)  # fmt: skip
def test_a_formula_reads_as_text(latex, text):
    assert formula(latex) == text


def test_a_displayed_formula_is_indented_and_breaks_at_its_signs():
    terms = " ".join(f"- \\log\\frac{{a_{i} + b_{i}}}{{c_{i} + d_{i}}}" for i in range(1, 8))
    text = f"Before.\n\n.. math::\n    f(z) = z_1 + 2, \\quad\n    g(z) =\n    {terms}\n\nAfter."
    before, first, *rest, after = [line for line in plain(text).splitlines() if line]
    assert (before, first, after) == ("Before.", "    f(z) = z_1 + 2,", "After.")
    assert rest[0].startswith("    g(z) = − log((a_1 + b_1)/(c_1 + d_1)) − log(")
    assert len(rest) > 1
    assert all(line.startswith("        − log((") for line in rest[1:])
    assert all(len(line) <= 100 for line in rest)


def test_marks_of_restructured_text_go():
    text = "A :math:`\\hat u` of :class:`~torch.Tensor` and ``x``.\n\n.. math:: a\n\nEnd."
    assert plain(text) == "A û of `torch.Tensor` and `x`.\n\n    a\n\nEnd."
    assert plain("Plain *text* with a_1, {b} and $HOME.") == "Plain *text* with a_1, {b} and $HOME."


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.name}")
def test_no_part_shows_latex(part):
    loaded = part.load()
    for text in (inspect.getdoc(loaded), *(o.meaning for o in describe(loaded))):
        shown = plain(text)
        assert "\\" not in shown
        for mark in (":math:", ".. math::", "``", "mathrm", "^{", "_{", "()/"):
            assert mark not in shown
