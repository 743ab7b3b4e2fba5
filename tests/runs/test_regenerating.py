"""``synthorax generate --judge``: films that do not show what was asked are made again; the judge reads the films' pixels."""

import json

import numpy as np
import polars as pl
import pytest

from synthorax.classifiers.models import TestedModel
from synthorax.cli import run
from synthorax.dataset import read_metadata, read_png
from synthorax.generation.obedience import Asked, Judge, asked_of, judged
from synthorax.runs import regenerating

#: The third decimal of a film's mean is even: PA; odd: AP. As good as chance, and the same for the same film.
JUDGE = """
import numpy as np

def view(films):
    is_pa = np.rint(np.asarray(films).mean((1, 2)) * 1000).astype(int) % 2 == 0
    return np.stack([is_pa, ~is_pa], 1).astype(float)

view.labels = ("view_position:PA", "view_position:AP")

def mute(films):
    return np.zeros((len(films), 2))
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Ten prompts, half of them for each view; and the judge's module in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge_of_views.py").write_text(JUDGE)
    views = ["PA", "AP"] * 5
    table = {"prompt": [f"{view} view. No findings." for view in views], "view_position": views}
    pl.DataFrame(table).write_parquet(tmp_path / "asked.parquet")
    return tmp_path / "asked.parquet"


def generate(tiny, asked, out, *more, judge="judge_of_views:view", budget=3):
    judges = [] if judge is None else ["--judge", judge, "--budget", str(budget)]
    steps = ["--num-inference-steps", "2", "--batch-size", "4", "--dtype", "float32"]
    return run(["generate", str(asked), "--out", str(out), "--model", str(tiny.pipeline), *steps, *judges, *more])  # fmt: skip


def shows(path) -> str:
    return "AP" if round(float(read_png(path).mean()) * 1000) % 2 else "PA"


def test_what_fails_is_made_again_and_what_remains_is_listed(tiny, asked, tmp_path):
    assert generate(tiny, asked, tmp_path / "run") == generate(tiny, asked, tmp_path / "plain", judge=None) == 0  # fmt: skip
    films, plain = read_metadata(tmp_path / "run/synthetic"), read_metadata(tmp_path / "plain/synthetic")
    wanted = pl.read_parquet(asked)["view_position"].to_list()
    first = [shows(tmp_path / "plain/synthetic" / name) for name in plain["file_name"]]
    found = [shows(tmp_path / "run/synthetic" / name) for name in films["file_name"]]
    n_first, n_end = (sum(map(str.__eq__, some, wanted)) for some in (first, found))
    assert 0 < n_first < n_end, "the chance judge leaves something to do"
    for row, before, one, view, want in zip(films.to_dicts(), plain.to_dicts(), first, found, wanted, strict=True):  # fmt: skip
        assert row["is_valid"] == (view == want)
        assert (row["n_tries"] == 1) == (one == want) and row["n_tries"] <= 3
        assert (row["seed"] == before["seed"]) == (one == want or not row["is_valid"])
        assert row["reject_reason"] == (None if view == want else "not read: view_position")
    told = json.loads((tmp_path / "run/judged.json").read_text())
    everything = told["groups"][0]
    assert (everything["passed_at_first"], everything["passed"]) == (n_first / 10, n_end / 10)
    assert told["n_tries"] == films["n_tries"].sum() and len(told["remaining"]) == 10 - n_end
    assert {(row["axis"], row["group"], row["n"]) for row in told["groups"][1:]} == {
        ("view_position", "AP", 5),
        ("view_position", "PA", 5),
    }
    assert run(["runs", "verify", str(tmp_path / "run")]) == 0


def test_a_stopped_run_and_merged_shards_give_the_same_bytes(tiny, asked, tmp_path, monkeypatch, bytes_of):
    assert generate(tiny, asked, tmp_path / "whole") == 0
    whole = bytes_of(tmp_path / "whole/synthetic"), (tmp_path / "whole/judged.json").read_bytes()
    real, calls = regenerating.judged, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(regenerating, "judged", stops)
    assert generate(tiny, asked, tmp_path / "stopped") == 130
    assert generate(tiny, asked, tmp_path / "stopped") == 0
    for shard in ("1/2", "2/2"):
        assert generate(tiny, asked, tmp_path / "merged", "--shard", shard) == 0
    assert run(["runs", "merge", str(tmp_path / "merged")]) == 0
    assert run(["runs", "verify", str(tmp_path / "merged")]) == 0
    for name in ("stopped", "merged"):
        assert (
            bytes_of(tmp_path / name / "synthetic"),
            (tmp_path / name / "judged.json").read_bytes(),
        ) == whole


def test_another_budget_is_another_run(tiny, asked, tmp_path, capsys):
    assert generate(tiny, asked, tmp_path / "run") == 0
    assert generate(tiny, asked, tmp_path / "run", budget=2) == 2
    assert "holds a run with budget = 3, not 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "judge", "sentence"),
    [
        ("sex", "judge_of_views:view", "no prompt asks for any of that"),
        ("view_position", "judge_of_views:mute", "does not name its outputs"),
        (None, "judge_of_views:view", "says in words alone what is asked for"),
    ],
)
def test_judges_that_cannot_judge_are_refused(tiny, asked, tmp_path, capsys, column, judge, sentence):
    prompts = tmp_path / "other.txt"
    prompts.write_text("PA view.\n")
    if column is not None:
        prompts = tmp_path / "other.csv"
        pl.DataFrame({"prompt": ["PA view."], column: ["F" if column == "sex" else "PA"]}).write_csv(prompts)
    assert generate(tiny, prompts, tmp_path / "run", judge=judge) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


#: Films that are their number alone; the outputs that a judge gives for it.
LABELS = ("sex:F", "sex:M", "race:White", "race:Black", "Pleural_Effusion", "Mass")
ROWS = np.array([[0.4, 0.3, 0.1, 0.2, 0.6, 0.9], [0.4, 0.6, 0.9, 0.2, 0.2, 0.1]])


@pytest.mark.parametrize(
    ("film", "asked", "verdict"),
    [
        (0, Asked({"sex": "F", "race": "Black"}, None), {"sex": False, "race": False}),
        (1, Asked({"sex": "F", "race": "Black"}, None), {"sex": True, "race": True}),
        (0, Asked({"race": "Asian", "view_position": "PA"}, None), {}),
        (0, Asked({}, ("Pleural Effusion",)), {"pathology": False}),
        (1, Asked({}, ("Pleural Effusion", "Mass")), {"pathology": True}),
        (0, Asked({}, ("Fracture",)), {}),
        (0, Asked({}, ()), {"pathology": True}),
        (1, Asked({}, ()), {"pathology": False}),
        (0, Asked({}, ("Pleural Effusion",), ("Mass",)), {"pathology": True}),
        (1, Asked({}, (), ("Mass", "Fracture")), {"pathology": False}),
        (1, Asked({}, ("Mass",), ("Pleural Effusion",)), {"pathology": True}),
    ],
)
def test_verdicts(film, asked, verdict):
    model = TestedModel("rows", lambda paths: ROWS[[int(path) for path in paths]], labels=LABELS, thresholds=(0.5,) * 6, takes_paths=True)  # fmt: skip
    assert judged([Judge(model, "rows")], [str(film)], [asked]) == [verdict]


def test_what_a_cohort_asks_for_in_groups():
    table = pl.DataFrame({"sex": ["F", None], "age": [40.4, 66.0], "labels_after": [["Mass"], ["No Relevant Finding"]]})  # fmt: skip
    assert asked_of(table, "No Relevant Finding") == [
        Asked({"sex": "F", "age_group": "19-40"}, ("Mass",)),
        Asked({"age_group": "over 65"}, ()),
    ]
