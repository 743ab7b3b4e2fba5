"""The report: words and drawings from a small real ``results.json`` and its images."""

import json
import re

import numpy as np
import pytest

from synthorax.cli import run as command_line
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.errors import RunError
from synthorax.quality.pictures import difference_map, outlined
from synthorax.runs.charts import interval, pair_heatmap
from synthorax.runs.headline import headlines
from synthorax.runs.report import write_report
from synthorax.runs.results import Results, read_results

LABELS = {"Pneumothorax": 9, "Pneumonia": 14, "Pleural Effusion": 21, "No Relevant Finding": 40}
NEVER = ["Pneumothorax", "Pneumonia"]


def combination(names, count, status="never", level="label"):
    return {"combination": names, "level": level, "count": count, "expected": 1.5, "status": status}


def metric(value, low, high, **more):
    return {"value": value, "ci_low": low, "ci_high": high, **more}


def small_results() -> dict:
    """A demo's figures, small enough to check by eye."""
    cars = {
        "auroc": metric(0.01, -0.02, 0.04, verdict="no difference shown"),
        "auprc": metric(0.06, 0.02, 0.10, verdict="better"),
        "ece": metric(0.03, 0.01, 0.05, verdict="worse"),
    }
    base = {
        "auroc": metric(0.80, 0.75, 0.85),
        "auprc": metric(0.5, 0.4, 0.6),
        "ece": metric(0.10, 0.08, 0.12),
    }
    return {
        "title": "A small demo",
        "kind": "demo",
        "is_simulated": True,
        "notes": ["All patients are simulated."],
        "cohort": {
            "n_images": 84,
            "n_patients": 80,
            "n_rejected": 1,
            "source": "virtual patients",
            "labels": LABELS,
        },
        "coverage": {
            "before": [
                combination(NEVER, 0),
                combination(["Pneumonia", "Pleural Effusion"], 5, "covered"),
                combination(["meniscus_sign", "mass"], 0, level="concept"),
            ],
            "after": [
                combination(NEVER, 4, "rare"),
                combination(["Pneumonia", "Pleural Effusion"], 7, "covered"),
            ],
            "withheld_pairs": [NEVER],
        },
        "plan": {
            "requested": {"insertion": 8, "intra_class": 4},
            "made": {"insertion": 8, "intra_class": 3},
            "impossible": {"intra_class": 1},
            "rejected": 2,
        },
        "examples": [
            {
                "title": "Patient 7",
                "prompt": "Effusion. <script>alert(1)</script>",
                "inversion_prompt": "No findings.",
                "perturbation_type": "insertion",
                "source": "images/source.png",
                "edit": "images/edit.png",
                "counterfactual": "images/truth.png",
                "mask": "images/mask.png",
                "ssim": 0.912,
            }
        ],
        "structure": [{"perturbation_type": "insertion", "n": 8, "ssim_mean": 0.91, "ssim_sd": 0.02}],
        "agreement": [
            {"arm": arm, "n": 8, "jaccard_mean": j, "hamming_mean": 0.1, "u_fp_mean": 0.2, "u_fn_mean": 0.3}
            for arm, j in {"CARS edits": 0.61, "ceiling: true counterfactuals": 0.77}.items()
        ],
        "classifier": {
            "backbone": "a small net",
            "n_train": 60,
            "n_test": 30,
            "n_test_patients": 29,
            "test_description": "Films with every pair.",
            "rows": [
                {"arm": "baseline", "metrics": base, "difference": None},
                {"arm": "CARS", "metrics": base, "difference": cars},
            ],
            "thresholds": {"Pneumonia": 0.4},
        },
        "model": {
            "model_id": "embedded",
            "model_sha256": "ab" * 32,
            "settings": {"skip": 0.3},
            "card_notes": ["Small."],
        },
        "provenance": {
            "command": "synthorax demo",
            "seed": 1,
            "software_version": "0.1.0",
            "duration_s": 12.5,
        },
        "rejected": [{"row": 3, "file_name": "a.dcm", "reason": "no pixel data"}],
    }


@pytest.fixture
def run_folder(tmp_path):
    films = np.random.default_rng(0).random((4, 48, 40), dtype=np.float32)
    for name, film in zip(("source", "edit", "truth"), films, strict=False):
        write_png(film, tmp_path / "images" / f"{name}.png")
    mask = np.zeros((48, 40), dtype=bool)
    mask[10:30, 8:25] = True
    write_png(mask, tmp_path / "images" / "mask.png")
    (tmp_path / "results.json").write_text(json.dumps(small_results()))
    rows = [{"file_name": f"{n}.png", "patient_id": f"p{n // 2}", "is_valid": n > 0} for n in range(5)]
    rows[0]["reject_reason"] = "out of range"
    write_metadata(metadata_frame(rows), tmp_path / "synthetic")
    return tmp_path


def test_page_tells_the_story_and_is_one_file(run_folder):
    page = write_report(run_folder).read_text(encoding="utf-8")
    for words in (
        "no difference shown",
        "1 of 2 label pairs",
        "11 synthetic radiographs",
        "Research only, not for diagnosis",
        "Simulated: virtual patients, one anatomy",
        "True counterfactual",
        "ceiling: true counterfactuals",
        "[−0.020, +0.040]",
        "0.91 <span",
        "5 rows over 3 patients, 4 of them valid; rejected: out of range (1)",
        "a.dcm",
    ):
        assert words in page, words
    assert page.count("data:image/jpeg;base64,") == 5
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "nothing is loaded from elsewhere"
    assert not re.search(r"https?://|@import|url\(", page)


def test_text_from_a_run_is_escaped(run_folder):
    page = write_report(run_folder).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_sections_that_a_run_on_real_films_lacks_vanish(run_folder):
    results = small_results() | {"kind": "run", "is_simulated": False, "classifier": None, "agreement": []}
    results["examples"][0] |= {"counterfactual": None, "mask": None}
    (run_folder / "results.json").write_text(json.dumps(results))
    page = write_report(run_folder).read_text(encoding="utf-8")
    assert "Not measured" in page
    for words in ("ounterfactual", "Does a classifier trained", "Does it show what", "Simulated:", "None"):
        assert words not in page, words


def test_only_what_is_required(tmp_path):
    results = {key: small_results()[key] for key in ("title", "kind", "is_simulated", "cohort", "provenance")}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "A small demo" in write_report(tmp_path).read_text(encoding="utf-8")


def test_same_results_same_page(run_folder):
    assert write_report(run_folder).read_bytes() == write_report(run_folder).read_bytes()


def test_headlines_are_counted_from_the_figures():
    missing, made, helps = headlines(Results.model_validate(small_results()))
    assert missing.sentences[0] == (
        "1 of the 2 label pairs looked at occur in no film of the cohort: Pneumothorax + Pneumonia."
    )
    assert made.sentences[:2] == [
        "8 insertion, 3 intra-class.",
        "1 of the 1 missing label pairs occur now, in synthetic films.",
    ]
    assert helps.figure == "CARS: better in 1, worse in 1 of 3 metrics"
    assert helps.sentences[0] == (
        "Fine-tuned on CARS images, against the baseline: better in AUPRC; "
        "worse in calibration error (ECE); no difference shown in AUROC."
    )


def test_missing_results_name_the_remedy(tmp_path):
    with pytest.raises(
        RunError, match=r"results\.json does not exist; expected a finished run\. Give its command"
    ):
        write_report(tmp_path)


def test_missing_image_is_named(run_folder):
    (run_folder / "images" / "edit.png").unlink()
    with pytest.raises(RunError, match=r"edit\.png does not exist, but .*results\.json shows it"):
        write_report(run_folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cohort": {"n_images": "many", "n_patients": 1, "source": "x"}}, r"cohort\.n_images"),
        ({"colour": "red"}, r"colour: Extra inputs are not permitted"),
    ],
)
def test_broken_contract_names_the_field(tmp_path, change, said):
    (tmp_path / "results.json").write_text(json.dumps(small_results() | change))
    with pytest.raises(RunError, match=said):
        read_results(tmp_path)


def test_command_writes_the_page_and_refuses_in_one_line(run_folder, tmp_path, capsys):
    assert command_line(["report", str(run_folder)]) == 0
    assert capsys.readouterr().out.strip() == str(run_folder / "report.html")
    assert command_line(["report", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    with pytest.raises(RunError):
        command_line(["report", str(tmp_path / "nowhere"), "--debug"])


def test_difference_is_grey_red_blue():
    before = np.full((1, 3), 0.5, dtype=np.float32)
    grey, red, blue = difference_map(np.array([[0.5, 0.9, 0.1]], dtype=np.float32), before)[0]
    assert grey.tolist() == [150, 150, 150]
    assert red[0] > red[2] and blue[2] > blue[0]


def test_outline_keeps_the_inside():
    mask = np.zeros((20, 20))
    mask[5:15, 5:15] = 1
    drawn = outlined(np.zeros((20, 20)), mask)
    assert drawn[5, 5].tolist() == [255, 214, 10]
    assert drawn[10, 10].sum() == 0 and drawn[2, 2].sum() == 0


def test_heatmap_marks_never_and_withheld_and_leaves_unasked_pairs_empty():
    counts = {frozenset("AB"): 0, frozenset("AC"): 4}
    drawing = pair_heatmap(["A", "B", "C"], counts, {frozenset("AB")}, top=4)
    assert drawing.count("<g>") == 2
    assert drawing.count('class="cell never"') == 1 and drawing.count('class="withheld"') == 1


def test_interval_is_drawn_around_zero():
    assert 'cx="110.0"' in interval(0, -1, 1, 1, "no")
    assert 'x1="10.0" x2="210.0"' in interval(0, -1, 1, 1, "no")
