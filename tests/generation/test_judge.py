"""Planted errors, the small judge that learns from them, a language model in its place, and the gate that asks it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import polars as pl
import pytest

from synthorax.cli import run
from synthorax.concepts import Vocabulary
from synthorax.errors import InputError, ModelError
from synthorax.generation import check_texts, facts_of_text
from synthorax.generation.gate import check_text
from synthorax.generation.judge import SmallJudge, load_small_judge
from synthorax.generation.judging import category_table, f1_of, planted_of
from synthorax.generation.language_judge import category_of, judge_by_pipeline, verdict_of
from synthorax.generation.planting import HELD_OUT, TRAINING, lines_of, plant
from synthorax.generation.verdict import CATEGORIES, JUDGED, Verdict
from synthorax.phantom.reports import write_report
from synthorax.seeds import generator, is_held_out

WORDS = Vocabulary.load("openchest")
REPORT = (
    "FINDINGS: There is a small left pleural effusion. Mild cardiomegaly. A 12 mm nodule projects over the right upper lobe. "
    "Possible right lower lobe pneumonia. No pneumothorax.\nIMPRESSION: Small left pleural effusion."
)
SETS = (["effusion"], ["enlarged_heart"], ["nodule"], ["effusion", "enlarged_heart"], ["absent_lung_markings"], ["consolidation"], [])  # fmt: skip


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """130 reports as the virtual patients have them, every tenth or so of a held-out patient."""
    rows = []
    for i in range(130):
        rng = generator("reports", i)
        drawn = {
            concept: {
                "side": ("L", "R")[int(rng.integers(2))], "severity": ("small", "moderate", "large")[int(rng.integers(3))],
                "lobe": ("right_lower", "left_upper")[int(rng.integers(2))], "diameter_mm": 12 + int(rng.integers(20)),
            }
            for concept in SETS[i % len(SETS)]
        }  # fmt: skip
        text = write_report(drawn, {}, is_unremarkable=not drawn, view_position="PA", seed=i)
        rows.append({"study_id": f"s{i}", "patient_id": f"p{i}", "report": text})
    path = tmp_path_factory.mktemp("reports") / "reports.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def judge(reports, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge") / "judge"
    assert run(["train", "judge", "--reports", str(reports), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def planted():
    """300 texts of one report from training templates."""
    return [plant(REPORT, WORDS, seed) for seed in range(300)]


def test_planted_errors_follow_from_the_seed_and_have_the_drawn_level(planted):
    found = planted
    assert found[::10] == [plant(REPORT, WORDS, seed) for seed in range(0, 300, 10)]
    levels = np.bincount([p.risk for p in found], minlength=5)
    assert levels.sum() == 300 and levels[1:].min() > 45, "levels are drawn evenly"
    told = {error.category for p in found for error in p.errors}
    assert told == {*CATEGORIES} - {"other"}
    for p in found:
        assert len(p.told) == len(lines_of(p.text)) and len(p.dropped) == len(lines_of(p.source))
        assert all(error.kind == JUDGED and error.risk <= p.risk for error in p.errors)


@pytest.mark.parametrize(
    ("category", "words", "risk"),
    [
        ("detail misidentification", "right pleural effusion", 4),
        ("detail misidentification", "30.0 mm", 3),
        ("missing context", "Small pleural effusion", 2),
        ("overstating intensity", "Severe cardiomegaly", 3),
        ("missing claim", "", 1),
        ("incorrect recommendation", "Immediate placement", 4),
        ("false comparison", "unchanged from the prior film", 2),
    ],
)
def test_each_level_follows_from_the_error_and_the_finding(planted, category, words, risk):
    errors = [error for p in planted for error in p.errors]
    some = [e.risk for e in errors if e.category == category and words.lower() in e.said.lower() and (e.said or "No pneumothorax" in e.source)]  # fmt: skip
    assert set(some) == {risk}


def test_the_parts_share_no_template(planted):
    other = [plant(REPORT, WORDS, seed, HELD_OUT) for seed in range(300)]
    inserted = (
        "false comparison",
        "incorrect recommendation",
        "misleading justification",
        "fabricated claim",
    )
    said = [
        {error.said for p in part for error in p.errors if error.category in inserted}
        for part in (planted, other)
    ]
    assert len(said[0]) > 30 < len(said[1]) and not said[0] & said[1]


def test_held_out_patients_are_never_taught_and_twins_never_tested(reports):
    table = pl.read_parquet(reports)
    _, taught = planted_of(table, WORDS, part=TRAINING)
    _, tested = planted_of(table, WORDS, part=HELD_OUT)
    assert tested and all(map(is_held_out, tested)) and not any(map(is_held_out, taught))
    with pytest.raises(InputError, match="no held-out patient of the table has a report"):
        planted_of(table.filter(patient_id=taught[0]), WORDS, part=HELD_OUT)


def test_a_judge_learns_what_the_gate_does_not_look_for(judge, reports, tmp_path, capsys):
    words = ["evaluate", "judge", str(judge), "--reports", str(reports), "--out", str(tmp_path), "--copies", "4"]  # fmt: skip
    assert run(words) == 0
    table = pl.read_csv(tmp_path / "judge.csv")
    f1 = {(row["judge"], row["figure"]): row["f1"] for row in table.iter_rows(named=True)}
    assert f1["gate", "misleading justification"] == 0 < 0.5 < f1["judge", "misleading justification"]
    assert f1["judge", "levels"] > max(f1["constant", "levels"], f1["gate", "levels"])
    assert f1["judge", "categories"] > f1["gate", "categories"]
    assert "judge    categories" in capsys.readouterr().out


def test_a_judge_is_the_same_after_loading_and_names_both_sentences(judge):
    loaded = load_small_judge(judge)
    wrong = REPORT.replace("FINDINGS: There is a small left", "FINDINGS: There is a small right")
    verdict = loaded(wrong, REPORT)
    error = next(e for e in verdict.errors if "right pleural effusion" in e.said)
    assert (error.category, error.kind) == ("detail misidentification", JUDGED) and error.risk >= 3
    assert error.source == "There is a small left pleural effusion" and not verdict.is_passed
    assert loaded(wrong, REPORT) == verdict and isinstance(loaded, SmallJudge)
    assert loaded(REPORT, REPORT).is_passed
    (judge / "weights.npz").rename(judge / "gone.npz")
    with pytest.raises(ModelError, match="holds no whole judge"):
        load_small_judge(judge)
    (judge / "gone.npz").rename(judge / "weights.npz")


def test_the_gate_asks_a_judge_that_can_only_refuse(judge, tmp_path, capsys):
    compared = REPORT + " This is unchanged from the prior film."
    texts = {
        "text": [REPORT, REPORT, REPORT.replace("left", "right")],
        "source_report": [REPORT, compared, REPORT],
    }
    pl.DataFrame(texts).write_parquet(tmp_path / "texts.parquet")
    words = ["curate", "check", str(tmp_path / "texts.parquet"), "--out", str(tmp_path / "judged.parquet")]
    assert run(words) == 0
    assert pl.read_parquet(tmp_path / "judged.parquet")["is_passed"].to_list() == [True, True, False]
    assert run([*words, "--judge", str(judge)]) == 0
    judged = pl.read_parquet(tmp_path / "judged.parquet")
    assert judged["is_passed"].to_list() == [True, False, False]
    assert [(e["kind"], e["category"], e["risk"]) for e in judged["errors"][1]] == [
        (JUDGED, "missing comparison", 2)
    ]
    labels = pl.DataFrame({"text": ["x"], "labels_present": [["Mass"]], "labels_absent": [[]]})
    with pytest.raises(InputError, match="row 1: has labels but no source_report; a judge compares reports"):
        check_texts(labels, WORDS, judge=lambda text, source: Verdict(()))
    assert run([*words, "--judge", str(tmp_path)]) == 2
    assert "expected the folder of a judge" in capsys.readouterr().err


ANSWER = """[[ ## reasoning ## ]]
The side differs.

[[ ## errors ## ]]
Error 1: Detail misidentification: right instead of left effusion
Error 2: fails to mention the nodule

[[ ## risk_level ## ]]
4

[[ ## completed ## ]]"""


class _Handler(BaseHTTPRequestHandler):
    """A server that answers as MedVAL-4B does, wrongly where it is not shown source and text."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][1]["content"]
        assert "[[ ## input ## ]]\nFINDINGS: There is a small left" in asked and body["temperature"] == 0
        is_wrong = "small right" in asked.split("[[ ## output ## ]]")[1]
        text = ANSWER if is_wrong else "[[ ## errors ## ]]\nNone\n[[ ## risk_level ## ]]\n1"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": text}}]}).encode())

    def log_message(self, *args: object) -> None:
        pass


def test_a_language_model_stands_in_the_same_place(tmp_path):
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        pl.DataFrame({"text": [REPORT, REPORT.replace("small left", "small right")], "source_report": [REPORT] * 2}).write_parquet(tmp_path / "t.parquet")  # fmt: skip
        words = ["curate", "check", str(tmp_path / "t.parquet"), "--out", str(tmp_path / "o.parquet"), "--judge", url]  # fmt: skip
        assert run([*words, "--judge-model", "medval"]) == 0
        server.shutdown()
    clean, wrong = pl.read_parquet(tmp_path / "o.parquet")["errors"].to_list()
    assert not clean
    judged = [(e["category"], e["risk"]) for e in wrong if e["kind"] == JUDGED]
    assert judged == [("detail misidentification", 4), ("missing claim", 4)]
    assert run(words) == 2, "a server's model needs its name"


def test_answers_of_language_models():
    assert verdict_of(ANSWER).risk == 4
    assert (
        verdict_of("[[ ## errors ## ]]\nNone\n[[ ## risk_level ## ]]\nLevel 3").errors[0].category == "other"
    )
    with pytest.raises(ModelError, match=r"expected \[\[ ## risk_level ## \]\]"):
        verdict_of("The report is fine.")
    with pytest.raises(ModelError, match="expected the folder of a judge"):
        judge_by_pipeline("/nowhere")
    lines = {"recommends CT": "incorrect recommendation", "Overstates the severity": "overstating intensity", "Fabricated claim: mass": "fabricated claim", "?": "other"}  # fmt: skip
    assert {line: category_of(line) for line in lines} == lines


def test_f1_by_hand():
    truth, told = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert f1_of(truth, told) == 0.5 and f1_of(truth, told, np.array([3, 1, 0, 0])) == pytest.approx(6 / 7)
    assert f1_of(~truth & truth, ~truth & truth) == 0
    verdict = check_text(REPORT.replace("left", "right"), facts_of_text(REPORT, WORDS), WORDS)
    assert CATEGORIES[category_table([verdict.errors])[0].argmax()] == "detail misidentification"
