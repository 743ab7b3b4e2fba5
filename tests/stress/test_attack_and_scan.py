"""CoRPA's attack and the scan: which labels fall, counted among all, on films whose answers are known."""

import json

import numpy as np
import pytest

from synthorax.classifiers import TestedModel
from synthorax.cli import run
from synthorax.concepts import Vocabulary
from synthorax.dataset import metadata_frame, write_metadata, write_png
from synthorax.errors import InputError
from synthorax.stress import attack, measure_scan, read_films, scan_shifts

from .conftest import film, reads_shortcut

N = 20
LABELS = ("Pneumothorax", "Pleural Effusion")


def two_squares(films):
    """Pneumothorax is the bright centre, effusion the bright corner."""
    return np.stack([films[:, 24:40, 24:40].mean((1, 2)), films[:, :12, :12].mean((1, 2))], 1)


two_squares.labels = LABELS  # type: ignore[attr-defined]


def dataset(folder):
    """Intra-class edits that leave the film as it is; outer-class ones that take the centre away and add no corner."""
    rows = []
    for patient in range(N):
        write_png(film(True, False, patient), folder / f"sources/{patient}.png")
        for kind, after, shown in (
            ("intra_class", ["absent_lung_markings", "irregular_diaphragm"], (True, False)),
            ("outer_class", ["effusion"], (False, False)),
        ):
            write_png(film(*shown, patient), folder / f"{kind}/{patient}.png")
            rows.append({
                "file_name": f"{kind}/{patient}.png", "source_file_name": f"sources/{patient}.png", "patient_id": f"p{patient}", "image_id": f"{kind}{patient}",
                "perturbation_type": kind, "concepts_before": ["absent_lung_markings"], "concepts_after": after,
                "concepts_unknown": ["enlarged_heart"], "is_simulated": False,
            })  # fmt: skip
    frame = metadata_frame(rows)
    write_metadata(frame, folder)
    return frame


def test_the_label_that_is_not_seen_falls_and_no_other(tmp_path):
    model = TestedModel("two squares", two_squares, labels=(*LABELS,))
    found = attack(model, dataset(tmp_path), tmp_path, Vocabulary.load())
    rows = {(row.perturbation_type, row.label): row for row in found.rows}
    assert len(rows) == 4 and found.n_films == 2 * N and found.n_unknown == 0
    fallen = rows["outer_class", "Pleural Effusion"]
    assert (fallen.before.estimate, fallen.attacked.estimate, fallen.falls) == (1.0, 0.0, True)
    assert fallen.p_adjusted == pytest.approx(4 * fallen.change.p_value)  # the smallest of four
    assert [key for key, row in rows.items() if row.falls] == [("outer_class", "Pleural Effusion")]
    assert rows["outer_class", "Pneumothorax"].attacked.estimate == 1.0, "gone, and not seen"


def test_what_the_shams_lose_too_is_no_fall(tmp_path):
    """Shams that lose the centre as the outer-class edits do: pneumothorax no longer reads as well before as after."""
    model = TestedModel("two squares", two_squares, labels=(*LABELS,))
    frame = dataset(tmp_path)
    rows = []
    for patient in range(1, N):  # the first patient's are missing
        write_png(film(False, False, patient), tmp_path / f"shams/{patient}.png")
        rows += [{"file_name": f"{patient}.png", "image_id": f"{kind}{patient}", "patient_id": f"p{patient}", "perturbation_type": "sham"} for kind in ("intra_class", "outer_class")]  # fmt: skip
    write_metadata(metadata_frame(rows), tmp_path / "shams")
    found = attack(model, frame, tmp_path, Vocabulary.load(), shams=tmp_path / "shams")
    rows = {(row.perturbation_type, row.label): row for row in found.rows}
    assert found.has_shams and found.n_films == 2 * (N - 1)
    assert rows["outer_class", "Pneumothorax"].before.estimate == 0.0
    assert rows["intra_class", "Pneumothorax"].change.estimate == 1.0
    assert [key for key, row in rows.items() if row.falls] == [("outer_class", "Pleural Effusion")]
    write_metadata(metadata_frame([]), tmp_path / "shams")
    with pytest.raises(InputError, match="has no sham of"):
        attack(model, frame, tmp_path, Vocabulary.load(), shams=tmp_path / "shams")


def test_a_label_that_nobody_decided_is_left_out_and_counted(tmp_path):
    model = TestedModel("two squares", two_squares, labels=("Cardiomegaly", "Pleural Effusion"))
    found = attack(model, dataset(tmp_path), tmp_path, Vocabulary.load())
    assert {row.label for row in found.rows} == {"Pleural Effusion"} and found.n_unknown == 2 * N


def test_an_attack_that_cannot_be_is_refused(tmp_path):
    frame = dataset(tmp_path)
    with pytest.raises(InputError, match="has outputs a, b; expected some of the vocabulary's labels: "):
        attack(TestedModel("odd", two_squares, labels=("a", "b")), frame, tmp_path, Vocabulary.load())
    model = TestedModel("two squares", two_squares, labels=LABELS)
    with pytest.raises(InputError, match="has no valid edit with a source"):
        attack(model, frame.head(0), tmp_path, Vocabulary.load())


def test_a_scan_proposes_what_the_model_takes_for_its_finding(table_path, tmp_path):
    """Of two shifts one lights the corner, which the model reads."""
    sets = {}
    for name, corner in (("mass", False), ("pacemaker", True)):
        rows = []
        for patient in range(N):
            for kind, shown in (("sham", False), (name, corner)):
                write_png(film(False, shown, patient), tmp_path / f"{name}/{kind}/{patient}.png")
                rows.append({"file_name": f"{kind}/{patient}.png", "patient_id": f"p{patient}", "perturbation_type": kind, "is_valid": True, "is_simulated": True})  # fmt: skip
        sets[name] = tmp_path / name, metadata_frame(rows)
    found = measure_scan(TestedModel("corner", reads_shortcut), sets, {"mass": "Left mass.", "pacemaker": "Pacemaker in place."})  # fmt: skip
    assert [row.name for row in found.rows] == ["pacemaker", "mass"] and [row.falls for row in found.rows] == [True, False]  # fmt: skip
    assert found.rows[0].change.estimate == -1.0 and found.rows[1].p_adjusted == 1.0
    assert found.proposal == "'Pacemaker in place.' hurts most; 1 of 2 shifts hurt (Holm, 0.05). Test it by 'stress custom'."  # fmt: skip
    assert json.loads(found.save(tmp_path).read_text())["proposal"] == found.proposal
    nothing = measure_scan(TestedModel("centre", lambda films: films[:, 0, 0] * 0), sets, {"mass": "", "pacemaker": ""})  # fmt: skip
    assert nothing.proposal == "None of 2 shifts was shown to hurt (Holm, 0.05)."


def test_a_scan_goes_over_all_findings_and_devices_but_the_one_that_is_tested():
    shifts = scan_shifts(leave_out=("absent_lung_markings",))
    assert len(shifts) == 15 + 3 and "absent_lung_markings" not in shifts
    assert (
        shifts["effusion"].prompt == "Left effusion." and shifts["pacemaker"].prompt == "Pacemaker in place."
    )
    with pytest.raises(InputError, match="Did you mean 'pacemaker'"):
        scan_shifts(["pacemakr"])


def test_the_commands(table_path, tmp_path, tiny, monkeypatch, capsys):
    (tmp_path / "squares.py").write_text("def both(films): return films[:, [30, 5], [30, 5]]\ndef corner(films): return films[:, 5, 5]\n")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    dataset(tmp_path / "edits")
    words = ["stress", "attack", "squares:both", str(tmp_path / "edits"), "--out", str(tmp_path / "a"), "--names", ",".join(LABELS)]  # fmt: skip
    assert run(words) == 0
    assert "outer_class  Pleural Effusion         100.0 % ->   0.0 %, n 20" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "a/attack.json").read_text())["rows"]) == 4
    page = (tmp_path / "a/attack.html").read_text()
    assert "1 of 4 labels and types fall" in page and page.index("<td>Pleural Effusion</td>") < page.index(
        "<td>Pneumothorax</td>"
    )
    assert "outer class: absent lung markings → effusion" in page and page.count("<img") == 2 * 3
    words = ["stress", "scan", "squares:corner", "--films", str(table_path), "--out", str(tmp_path / "s"), "--model", str(tiny.pipeline)]  # fmt: skip
    words += ["--concepts", "mass,chest_drain", "--limit", "2", "--num-inference-steps", "2", "--skip", "0"]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "Left mass. " in said and ("hurts most" in said or "None of 2 shifts" in said)
    page = (tmp_path / "s/scan.html").read_text()
    assert page.count("<img") == 2 * 4 and "<td>Left mass.</td>" in page and said.endswith("scan.html\n")
    assert read_films(table_path).height == 48 and (tmp_path / "s/mass/sham/p0_0.png").is_file()
