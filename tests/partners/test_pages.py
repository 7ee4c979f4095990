"""The code of the pages on other libraries runs."""

import pytest
from pages import DOCS, WITH_PARTNERS, blocks, run_python


@pytest.mark.parametrize("page", [p for p in DOCS if p.name in WITH_PARTNERS], ids=lambda p: p.name)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert page.name == "trackers.md" or blocks(page, "python")
    run_python(page)
