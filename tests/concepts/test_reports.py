"""Whole reports: sections, spans, sides, policies, reports without text, and text that is no report."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synthorax.concepts import Vocabulary, annotate
from synthorax.concepts.sections import usable_sections

CORPA = Vocabulary.load()

#: Name -> report, and the text of the stretches that are read.
SECTIONS = {
    "findings and impression": (
        "INDICATION: Effusion?\nFINDINGS: Clear lungs.\nIMPRESSION: Normal.",
        [("findings", "Clear lungs."), ("impression", "Normal.")],
    ),
    "inside one line": (
        "FINDINGS: Clear lungs. IMPRESSION: Normal.",
        [("findings", "Clear lungs."), ("impression", "Normal.")],
    ),
    "small letters": (
        "Findings: Clear.\nimpression: normal.",
        [("findings", "Clear."), ("impression", "normal.")],
    ),
    "no heading": ("Clear lungs. No effusion.", [("body", "Clear lungs. No effusion.")]),
    "colons that are no headings": (
        "Heart: normal. Pneumothorax: none.",
        [("body", "Heart: normal. Pneumothorax: none.")],
    ),
    "cut heading is not an impression": (
        "ndication: pneumonia\nFINDINGS: Clear.",
        [("findings", "Clear.")],
    ),
    "headings alone on a line": (
        "FINAL REPORT\nHISTORY\nPneumonia.\n\nFINDINGS\nClear.\nIMPRESSION\nNormal.",
        [("findings", "Clear."), ("impression", "Normal.")],
    ),
    "body below the comparison": (
        "HISTORY: Cough.\n\nCOMPARISON: None.\n\nThe lungs are clear.\n\nIMPRESSION: Normal.",
        [("body", "The lungs are clear."), ("impression", "Normal.")],
    ),
    "only an indication": ("INDICATION: Pneumonia?", []),
    "only holes": ("FINDINGS: XXXX. ___\nIMPRESSION: XXXX", []),
    "empty": ("", []),
}  # fmt: skip


@pytest.mark.parametrize("name", SECTIONS)
def test_sections(name):
    report, expected = SECTIONS[name]
    found = [(s.name, report[s.start : s.end].strip()) for s in usable_sections(report)]
    assert found == expected


def test_indication_and_history_assert_nothing():
    report = "INDICATION: Pneumothorax.\nHISTORY: Lung mass.\nCOMPARISON: Effusion.\nFINDINGS: Cardiomegaly."
    assert annotate(report, CORPA).vector.present == {"enlarged_heart"}


def test_spans_are_those_of_the_report_as_given():
    report = "  FINDINGS:\n The heart is\n   mildly  enlarged;small LEFT pleural\n effusion.\n\nIMPRESSION: Effusion"
    mentions = annotate(report, CORPA).mentions
    assert [m.text for m in mentions] == ["heart is\n   mildly  enlarged", "pleural\n effusion", "Effusion"]
    assert all(report[m.start : m.end] == m.text for m in mentions)
    assert [m.section for m in mentions] == ["findings", "findings", "impression"]


@pytest.mark.parametrize(
    ("sentence", "laterality", "severity"),
    [
        ("Small left effusion.", "left", "small"),
        ("Large right-sided effusion.", "right", "large"),
        ("Bilateral effusions.", "bilateral", None),
        ("Left and right effusions.", "bilateral", None),
        ("Moderate effusion on the left.", "left", "moderate"),
        ("Effusion.", None, None),
        ("Left clavicle fracture. Effusion.", None, None),
    ],
)
def test_sides_and_severity(sentence, laterality, severity):
    (mention,) = annotate(sentence, CORPA).mentions
    assert (mention.laterality, mention.severity) == (laterality, severity)


def test_policies():
    report = "Possible pneumonia. Effusion. Top-normal heart. History of lung mass. Opacity."
    present = {policy: annotate(report, CORPA, policy).vector.present for policy in CORPA.policies}
    assert present["strict"] == {"effusion", "opacities"}
    assert (
        present["inclusive"] == present["corpa"] == {"effusion", "pneumonitis", "enlarged_heart", "opacities"}
    )


def test_an_assertion_in_one_section_outweighs_a_negation_in_another():
    report = "FINDINGS: Small effusion.\nIMPRESSION: No effusion."
    assert annotate(report, CORPA).vector.present == {"effusion"}


def test_normal_report_and_its_suppression():
    assert annotate("No acute cardiopulmonary abnormality.", CORPA).vector.present == {"unremarkable"}
    assert annotate("Lungs are clear. Cardiomegaly.", CORPA).vector.present == {"enlarged_heart"}
    assert annotate("No pulmonary edema.", CORPA).vector.present == set()


@pytest.mark.parametrize("report", [None, "", "  \n", "INDICATION: Pneumonia", "FINDINGS: XXXX"])
def test_no_usable_text_is_unknown_and_said(report):
    annotation = annotate(report, CORPA)
    assert annotation.vector.unknown == set(CORPA.concepts) and not annotation.mentions
    assert "every concept is unknown" in annotation.sentence()


def test_the_prompt_of_a_concept_says_the_concept():
    for concept in CORPA.pathologies:
        assert annotate(f"{CORPA.phrase(concept)}.", CORPA).vector.present == {concept}


WORDS = ["no ", "heart", " enlarged", "effusion", ", ", ". ", "\n", "FINDINGS: ", "IMPRESSION:", " or ", "left ",
         "XXXX", "___", "1.3 cm", "((", "İß", "\u202eeffusion", "\x00", "calcified ", "nodule", "  ", ";", "but "]  # fmt: skip


BINARY = st.binary(max_size=300).map(lambda data: data.decode("latin-1"))
MADE = st.lists(st.sampled_from(WORDS), max_size=40).map("".join)


@settings(max_examples=2000, deadline=None)
@given(st.one_of(st.text(max_size=300), BINARY, MADE))
@example("")
@example("FINDINGS:\nIMPRESSION:\n")
@example("((((no effusion [[ }")
@example("\u202bלא effusion\u202c")
@example("no pneumothorax, " * 60_000)  # a megabyte
def test_any_text_has_an_outcome(text):
    annotation = annotate(text, CORPA)
    assert annotation.has_text == (not annotation.vector.unknown)
    for mention in annotation.mentions:
        assert text[mention.start : mention.end] == mention.text and mention.text
    assert annotate(text, CORPA) == annotation


def test_a_very_long_report():
    annotation = annotate("No effusion. " * 20_000, CORPA)
    assert len(annotation.mentions) == 20_000 and not annotation.vector.present
