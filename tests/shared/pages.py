"""The pages of the repository, and the code in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Their code takes other libraries, which are slow to import: tests/partners runs it.
WITH_PARTNERS = {"pyro.md", "scikit-learn.md", "tune.md", "export.md", "trackers.md"}


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def run_python(page: Path) -> None:
    """Run the Python blocks of a page, one after the other, in the working directory."""
    namespace = {"__name__": "example"}
    for code in blocks(page, "python"):
        exec(compile(code, page.name, "exec"), namespace)  # our own page
