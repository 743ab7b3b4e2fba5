"""The gate: each kind of error is found with its category and risk, what is the same in other words passes."""

import polars as pl
import pytest

from synthorax.concepts import Vocabulary
from synthorax.errors import InputError
from synthorax.generation import check_text, check_texts, facts_of_labels, facts_of_text
from synthorax.generation.verdict import KINDS

WORDS = Vocabulary.load("openchest")
REPORT = """INDICATION: 63-year-old man with cough.
FINDINGS: There is a small left pleural effusion. Mild cardiomegaly. Possible right lower lobe pneumonia. No pneumothorax.
A 12 mm nodule projects over the right upper lobe.
IMPRESSION: Small left pleural effusion. Mild cardiomegaly."""
LABELS = {
    "study_id": "s", "labels_present": ["Pleural_Effusion", "Cardiomegaly"], "labels_absent": ["Pneumothorax"],
    "labels_uncertain": ["Pneumonia"], "sides": [{"concept": "Pleural_Effusion", "side": "left"}], "sex": "M", "age": 63.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "kind", "category", "risk"),
    [
        ("Mild cardiomegaly. ", "", "dropped severity", "missing context", 1),
        ("No pneumothorax.", "", "dropped denial", "missing claim", 1),
        ("No pneumothorax.", "No pneumothorax. Rib fracture.", "added finding", "fabricated claim", 3),
        ("No pneumothorax.", "There is a pneumothorax.", "contradicted finding", "fabricated claim", 4),
        ("small left pleural", "small right pleural", "wrong side", "detail misidentification", 4),
        ("IMPRESSION: Small", "IMPRESSION: Large", "overstated severity", "overstating intensity", 3),
        ("Possible right", "Right", "overstated certainty", "overstating intensity", 2),
        ("right lower", "right upper", "wrong place", "detail misidentification", 3),
        ("12 mm", "21 mm", "wrong measure", "detail misidentification", 3),
        ("63-year-old", "36-year-old", "wrong age", "detail misidentification", 3),
        ("old man", "old woman", "wrong sex", "detail misidentification", 3),
        ("No pneumothorax.", "No pneumothorax. CT is recommended.", "recommendation", "incorrect recommendation", 2),
        ("No pneumothorax.", "No pneumothorax, unchanged.", "false comparison", "false comparison", 2),
        ("No pneumothorax.", "No pneumothorax. Gastric bubble beneath elephants dancing.", "unsupported sentence", "fabricated claim", 2),
    ],
)  # fmt: skip
def test_each_kind_of_error(old, new, kind, category, risk):
    assert old in REPORT
    text = REPORT.replace(old, new, 1) if kind != "dropped severity" else REPORT.replace("Mild c", "C")
    verdict = check_text(text, facts_of_text(REPORT, WORDS), WORDS)
    found = {error.kind: error for error in verdict.errors}
    assert (found[kind].category, found[kind].risk) == (category, risk) == KINDS[kind]
    assert verdict.is_passed == (risk < 2) and verdict.risk == max(error.risk for error in verdict.errors)


def test_a_dropped_finding_is_gone_from_everywhere():
    source = facts_of_text(REPORT, WORDS)
    once = REPORT.replace("Mild cardiomegaly. Possible", "Possible")
    assert check_text(once, source, WORDS).is_passed, "the impression still says it"
    gone = once.replace(" Mild cardiomegaly.", "")
    errors = check_text(gone, source, WORDS).errors
    assert [(error.kind, error.concept) for error in errors] == [("dropped finding", "cardiomegaly")]


@pytest.mark.parametrize(
    "text",
    [
        REPORT,
        "A 63-year-old man. Effusion on the left, small. The heart is mildly enlarged. Pneumonia in the right lower lobe is "
        "possible. No evidence of pneumothorax. Nodule of 12 mm in the right upper lobe.",
    ],
)
def test_other_words_for_the_same_pass(text):
    verdict = check_text(text, facts_of_text(REPORT, WORDS), WORDS)
    assert verdict.is_passed, verdict.errors


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("63-year-old man. Left pleural effusion. Cardiomegaly. Possible pneumonia. No pneumothorax.", set()),
        ("63-year-old man. Left pleural effusion. Cardiomegaly. Possible pneumonia. No fracture.", {"added denial", "dropped denial"}),
        ("63-year-old man. Pleural effusion. Cardiomegaly. Possible pneumonia. No pneumothorax.", {"dropped side"}),
        ("63-year-old man. Left pleural effusion. Severe cardiomegaly. Possible pneumonia. No pneumothorax.", {"added severity"}),
        ("Left pleural effusion. Cardiomegaly. Possible pneumonia. No pneumothorax.", {"dropped person"}),
        ("", {"length", "dropped finding", "dropped person", "dropped denial"}),
    ],
)  # fmt: skip
def test_labels_know_nothing_that_they_do_not_say(text, kinds):
    found = {error.kind for error in check_text(text, facts_of_labels(LABELS, WORDS), WORDS).errors}
    assert found == kinds


def test_a_label_outside_the_vocabulary_must_stand_in_its_own_words():
    source = facts_of_labels({"labels_present": ["Loop recorder"]}, WORDS)
    assert check_text("Loop recorder.", source, WORDS).is_passed
    assert [e.concept for e in check_text("Chest film.", source, WORDS).errors] == ["Loop recorder"]


def test_no_finding_is_contradicted_by_a_finding_and_needs_to_be_said():
    normal = facts_of_labels({"labels_present": ["No Finding"]}, WORDS)
    assert check_text("No acute cardiopulmonary abnormality.", normal, WORDS).is_passed
    assert check_text("Left effusion.", normal, WORDS).risk == 3
    sick = facts_of_labels({"labels_present": ["Mass"]}, WORDS)
    assert "contradicted finding" in {e.kind for e in check_text("Mass. Normal chest.", sick, WORDS).errors}


def test_length_is_limited():
    errors = check_text(REPORT, facts_of_text(REPORT, WORDS), WORDS, max_words=20).errors
    assert [(e.kind, e.source) for e in errors] == [("length", "at most 20 words")]


def test_a_table_of_texts():
    table = pl.DataFrame(
        {"text": [REPORT, REPORT.replace("left", "right")], "source_report": [REPORT, REPORT]}
    )
    judged = check_texts(table, WORDS)
    assert judged["is_passed"].to_list() == [True, False] and judged["risk"].to_list() == [1, 4]
    rows = pl.DataFrame({"text": ["Mass."], "labels_present": ["Mass|Nodule"], "age": ["63"]})
    assert {e["kind"] for e in check_texts(rows, WORDS)["errors"][0]} == {"dropped finding", "dropped person"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"report": ["x"]}, "the table has the columns report; expected 'text', and source_report or labels_present."),
        ({"text": [None], "source_report": ["x"]}, "row 1: text is empty; expected a text."),
        ({"text": ["x"], "source_report": [None]}, "row 1: source_report is empty; expected the text's source."),
        ({"text": ["x"], "labels_present": ["Mass"], "age": ["old"]}, "age is no number"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_judged(table, said):
    with pytest.raises(InputError) as error:
        check_texts(pl.DataFrame(table), WORDS)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"study_id": "s"}, "study 's' has no labels; expected labels_present."),
        ({"labels_present": ["Mass"], "sides": [{"concept": "Mass", "side": "upper"}]}, "side of Mass is 'upper'; expected one of bilateral, left, right."),
        ({"study_id": "s", "labels_present": ["Mass"], "sides": [{"concept": "Effusion", "side": "left"}]}, "study 's' gives a side for 'Effusion', which it does not say is present"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_taken(row, said):
    with pytest.raises(InputError) as error:
        facts_of_labels(row, WORDS)
    assert said in str(error.value)
