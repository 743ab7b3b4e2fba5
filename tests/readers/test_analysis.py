"""CARS's Table 5 from answers that are made to give it; preferences; repeats; failure modes. All simulated."""

import io
import json

import pytest
from PIL import Image

from synthorax.errors import InputError
from synthorax.readers import Study, analyse
from synthorax.readers.study import Case, Side

#: CARS, Table 5: out of 100 and 50 films, (real, full, partial) of each expert.
TABLE_5 = {
    ("CARS", 1): (94, 61, 22),
    ("CARS", 2): (88, 59, 21),
    ("CoRPA", 1): (43, 23, 12),
    ("CoRPA", 2): (31, 26, 12),
}


def png():
    written = io.BytesIO()
    Image.new("L", (4, 4)).save(written, format="PNG")
    return written.getvalue()


@pytest.fixture
def table_5(tmp_path):
    arms = ["CARS"] * 100 + ["CoRPA"] * 50
    cases = [Case(f"p{i}", "", (Side(0, arm, f"{arm}-{i}"),)) for i, arm in enumerate(arms)]
    items = [(i, False, False) for i in range(150)] + [(0, False, True), (1, False, True)]
    study = Study.write(tmp_path / "s.sqlite", "cars", [png()], cases, [items, items], title="t", is_simulated=True)  # fmt: skip
    for reader in (1, 2):
        for i, arm in enumerate(arms):
            place = i if arm == "CARS" else i - 100
            real, full, partial = TABLE_5[arm, reader]
            study.save(reader, i + 1, {
                "realism": "real" if place < real else "synthetic",
                "concepts": "full" if place < full else "partial" if place < full + partial else "disagree",
            }, "ribs" if place == 99 else "")  # fmt: skip
        study.save(reader, 151, {"realism": "real", "concepts": "full"})
        study.save(reader, 152, {"realism": "synthetic", "concepts": "full"})
    return study


def test_table_5_comes_out(table_5, tmp_path):
    found = analyse(table_5, tmp_path / "out")
    shares = {(r["method"], r["reader"], r["answer"]): round(100 * r["share"]) for r in found["distribution"]}
    assert [shares["CARS", 1, a] for a in ("real", "full", "partial", "disagree")] == [94, 61, 22, 17]
    assert [shares["CoRPA", 2, a] for a in ("real", "full", "partial", "disagree")] == [62, 52, 24, 24]
    (row,) = [
        r for r in found["distribution"] if (r["method"], r["reader"], r["answer"]) == ("CARS", 1, "real")
    ]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.8752, 0.9722), abs=1e-4), "Wilson, 94 of 100"
    realism = next(row for row in found["comparison"] if row["question"] == "realism")
    assert (realism["method"], realism["minus"]) == ("CoRPA", "CARS")
    assert realism["difference"] == pytest.approx(74 / 100 - 182 / 200) and realism["verdict"] == "lower"
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["study"]["is_simulated"] is True


def test_repeats_count_for_repeatability_alone(table_5):
    found = analyse(table_5)
    assert {r["of"] for r in found["distribution"]} == {50, 100}
    assert found["agreement"][0]["n_items"] == 150
    assert [(r["n_repeats"], r["percent_agreement"]) for r in found["repeatability"][:2]] == [(2, 0.5)] * 2


def test_failure_modes_are_tabulated_by_method(table_5):
    waiting = table_5.uncoded()
    assert [comment for _, _, comment in waiting] == ["ribs", "ribs"]
    table_5.add_failure_mode("  Too  DARK ")
    table_5.set_codes(1, 100, ["implausible ribs", "too dark"])
    table_5.set_codes(2, 100, [])
    assert table_5.uncoded() == []
    modes = {(r["method"], r["mode"]): (r["n"], r["of"]) for r in analyse(table_5)["failure_modes"]}
    assert modes == {("CARS", "implausible ribs"): (1, 200), ("CARS", "too dark"): (1, 200)}
    with pytest.raises(
        InputError, match=r"failure mode is 'ribs'; expected one of implausible ribs, .* Add it first"
    ):
        table_5.set_codes(1, 100, ["ribs"])


def test_a_pair_means_the_same_whichever_side_it_was_shown_on(tmp_path):
    cases = [
        Case(
            f"p{i}",
            "mass",
            (
                Side(2 * i, "old", f"old-{i}"),
                Side(2 * i + 1, "new", f"new-{i}", f"new/{i}.png", "Left mass."),
            ),
        )
        for i in range(10)
    ]
    items = [[(i, (i + reader) % 2 == 1, False) for i in range(10)] for reader in range(2)]
    study = Study.write(tmp_path / "s.sqlite", "preference", [png()] * 20, cases, items, title="t", is_simulated=True)  # fmt: skip
    for reader in (1, 2):
        for position in range(1, 11):
            is_flipped = study.item(reader, position).films[0] % 2 == 1
            study.save(reader, position, {"preferred": "a" if is_flipped else "b"})  # always the new one
    found = analyse(study, tmp_path / "out")
    assert found["agreement"][0]["percent_agreement"] == 1.0
    shares = {(r["reader"], r["chosen"], r["over"]): (r["n"], r["of"]) for r in found["pairs"]}
    assert shares[1, "new", "old"] == shares[2, "new", "old"] == (10, 10)
    lines = [json.loads(line) for line in (tmp_path / "out" / "preferences.jsonl").read_text().splitlines()]
    assert len(lines) == 20
    assert lines[0] == {
        "findings": "mass", "chosen": "new-0", "chosen_file_name": "new/0.png", "chosen_method": "new", "chosen_prompt": "Left mass.",
        "rejected": "old-0", "rejected_file_name": "", "rejected_method": "old", "rejected_prompt": "", "reader": 1, "is_simulated": True,
    }  # fmt: skip
    assert all(line["chosen"].startswith("new") and line["rejected"].startswith("old") for line in lines)


def test_the_film_called_synthetic_is_no_preference(tmp_path):
    case = Case("p", "", (Side(0, "source", "real"), Side(1, "radedit", "made")))
    study = Study.write(tmp_path / "s.sqlite", "2afc", [png()] * 2, [case], [[(0, False, False)]], title="t", is_simulated=True)  # fmt: skip
    study.save(1, 1, {"synthetic": "b"})
    found = analyse(study, tmp_path / "out")
    assert [(row["chosen"], row["n"], row["of"]) for row in found["pairs"]] == [
        ("radedit", 1, 1),
        ("source", 0, 1),
    ]
    assert not (tmp_path / "out" / "preferences.jsonl").exists()


def test_a_correction_keeps_one_answer_and_the_first_time(table_5):
    before = next(a for a in table_5.answers() if (a["reader"], a["position"]) == (1, 1))
    table_5.opened(1, 1)
    table_5.save(1, 1, {"realism": "synthetic", "concepts": "full"})
    after = [a for a in table_5.answers() if (a["reader"], a["position"]) == (1, 1)]
    assert [(a["realism"], a["seconds"]) for a in after] == [("synthetic", before["seconds"])]
