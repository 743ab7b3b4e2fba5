"""Films of a prompt are ranked by a judge and by readers; the comparisons are those of statsmodels and of hand."""

import json
import re

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_ind, ttest_rel

from synthorax.cli import run
from synthorax.concepts import Vocabulary
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.readers.ranking import compare

LABELS = Vocabulary.load().pathology_labels
N_PROMPTS, N_SEEDS = 6, 3


def brightness(films):
    """A judge that sees each label as far as the film is bright: what is true of a film is known from its making."""
    return np.repeat(films.mean((1, 2))[:, None], len(LABELS), axis=1)


brightness.labels = LABELS  # type: ignore[attr-defined]


@pytest.fixture
def drawn(tmp_path):
    """Prompts of all labels, or of one, with films of three brightnesses; brighter shows more labels."""
    rows = []
    for i in range(N_PROMPTS):
        for k in range(N_SEEDS):
            name = f"p{i}-{k}.png"
            write_png(np.full((16, 16), 0.2 + 0.3 * ((i + k) % N_SEEDS), np.float32), tmp_path / "run" / "synthetic" / name)  # fmt: skip
            labels = list(LABELS) if i % 2 else [LABELS[0]]
            rows.append({"file_name": name, "prompt": f"prompt {i}", "labels_after": labels, "is_synthetic": True})  # fmt: skip
    write_metadata(metadata_frame(rows), tmp_path / "run" / "synthetic")
    return tmp_path / "run"


def ranked(drawn, *more):
    judge = f"{__name__}:brightness"
    assert run(["rank", str(drawn), "--judge", judge, *more]) == 0
    return pl.read_parquet(drawn / "ranking" / "ranking.parquet"), pl.read_parquet(
        drawn / "ranking" / "pairs.parquet"
    )


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_the_brightest_or_the_darkest_stands_first_as_asked(drawn, capsys):
    table, pairs = ranked(drawn, "--second", f"{__name__}:brightness")
    for i in range(N_PROMPTS):
        group = table.filter(pl.col("prompt") == f"prompt {i}")
        p = np.array([0.2 + 0.3 * ((i + k) % N_SEEDS) for k in range(N_SEEDS)])
        p = np.rint(p * 255) / 255
        score = p if i % 2 else np.exp((np.log(p) + (len(LABELS) - 1) * np.log(1 - p)) / len(LABELS))
        assert group["score"].to_numpy() == pytest.approx(score, abs=1e-6)
        assert group.sort("rank")["score"].to_list() == sorted(group["score"], reverse=True)
    assert pairs.height == N_PROMPTS and all(pairs["chosen_score"] > pairs["rejected_score"] + 0.1)
    said = capsys.readouterr().out
    found = re.findall(r"^(.*?): ([\d.]+) - ([\d.]+) = ", said, re.M)
    assert [name for name, *_ in found] == [
        "single-disease prompts minus several",
        "first of the ranking minus first drawn, by the second judge",
    ]
    best = table.filter(pl.col("rank") == 1)["checked"].mean()
    assert float(found[1][1]) == pytest.approx(best, abs=1e-3)


def test_matched_pairs_are_the_nearest_in_brightness_that_the_score_tells_apart(drawn):
    _, pairs = ranked(drawn, "--matched")
    asked_for_all = pairs.filter(pl.col("prompt") == "prompt 1").row(0, named=True)  # scores .2, .5 and .8
    assert asked_for_all["chosen_score"] - asked_for_all["rejected_score"] == pytest.approx(0.3, abs=0.01)
    _, pairs = ranked(drawn, "--matched", "--margin", "0.5")
    assert sorted(pairs["prompt"]) == ["prompt 1", "prompt 3", "prompt 5"], "the others differ by less"
    assert (pairs["chosen_score"] - pairs["rejected_score"]).to_numpy() == pytest.approx(0.6, abs=0.01)


def test_readers_come_before_the_judge(drawn, tmp_path):
    votes = tmp_path / "preferences.jsonl"
    votes.write_text(json.dumps({"chosen_file_name": "p1-1.png", "rejected_file_name": "p1-0.png"}) + "\n")
    from synthorax.runs.reviews import record_verdict, write_reviewed

    record_verdict(drawn, "p3-2.png", False, "anatomy")
    write_reviewed(pl.read_parquet(drawn / "synthetic" / "metadata.parquet"), drawn)
    table, pairs = ranked(drawn, "--votes", str(votes), "--margin", "0.9")
    place = dict(zip(table["file_name"], table["rank"], strict=True))
    assert place["p1-1.png"] == 1 and place["p1-0.png"] == 3 and place["p3-2.png"] == 3
    assert sorted(pairs["prompt"]) == ["prompt 1", "prompt 3"], "only readers told films apart at this margin"


def test_comparisons_are_those_of_scipy_with_bonferroni():
    draw = np.random.default_rng(0)
    x, y = draw.normal(0.6, 0.1, 20), draw.normal(0.5, 0.1, 20)
    names = [f"p{i}" for i in range(20)]
    first, second = (pl.DataFrame({"prompt": names, "checked": v}) for v in (x, y))
    paired = compare("a", first, second, 3)
    assert paired.p_bonferroni == pytest.approx(min(1, 3 * ttest_rel(x, y, alternative="greater").pvalue))
    assert paired.ours.estimate == pytest.approx((x - y).mean()) and paired.ours.ci_low > 0
    others = second.with_columns(prompt=pl.col("prompt") + "'")
    welch = compare("a", first, others, 1)
    expected = ttest_ind(x, y, alternative="greater", equal_var=False).pvalue
    assert welch.p_bonferroni == pytest.approx(expected)


def test_messages(drawn, tmp_path, capsys):
    words = ["rank", str(drawn), "--judge", f"{__name__}:brightness"]
    assert run([*words, "--votes", str(tmp_path / "none.jsonl")]) == 2
    assert "holds no preferences" in capsys.readouterr().err
    brightness.labels = ("a", "b")  # type: ignore[attr-defined]
    try:
        assert run(words) == 2
    finally:
        brightness.labels = LABELS  # type: ignore[attr-defined]
    assert "gives a, b; a judge's outputs are named as labels: " in capsys.readouterr().err
    write_metadata(metadata_frame([]), tmp_path / "empty")
    assert run(["rank", str(tmp_path / "empty"), "--judge", "x"]) == 2
    assert "holds no films with prompts; generate some first" in capsys.readouterr().err
