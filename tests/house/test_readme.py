"""What the README promises is there: its links, and its quickstart as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest

from synthorax.dataset import read_png, write_png

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert not [link for link in local if not (ROOT / page).parent.joinpath(link).exists()]


def test_first_screen_says_what_and_how():
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:16]
    for words in ("Research only, not for diagnosis", "![", "make install", "make demo", "report.html"):
        assert any(words in line for line in first), words


def test_quickstart_runs_as_it_stands(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.+?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert code and len(code[1].splitlines()) <= 10
    rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
    lungs = np.exp(-8 * ((np.abs(columns) - 0.45) ** 2 * 3 + rows**2))
    write_png(0.9 - 0.7 * lungs, tmp_path / "film.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], "README.md", "exec"), {})
    before, after = read_png("film.png"), read_png("edited.png")
    assert after.shape == before.shape
    assert np.array_equal(after[:100], before[:100]), "far outside the mask nothing changes"
    assert not np.array_equal(after[128:, 128:], before[128:, 128:])
