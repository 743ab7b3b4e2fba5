"""Prompts come to the embedded model in the words of its captions."""

import pytest

from synthorax.concepts import Vocabulary
from synthorax.diffusion import load_model
from synthorax.diffusion.wording import in_taught_words, words_of
from synthorax.perturbations import prompt


@pytest.fixture(scope="module")
def known() -> frozenset[str]:
    return words_of(load_model().pipeline.tokenizer)


@pytest.mark.parametrize(
    ("given", "taught"),
    [
        ("A left-sided PTX is noted.", "Left pneumothorax."),
        ("Cardiomegaly is noted.", "Enlarged heart."),
        ("Dual chamber pacer overlies the chest.", "Pacemaker in place."),
        ("Pulmonary mass, right side.", "Right mass."),
        ("Possible pneumonia in the right lung.", "Right pneumonitis."),
        ("Small left effusion, no pneumothorax.", "Small left effusion."),
        ("Left effusion. The heart is not enlarged.", "Left effusion."),
        ("No pulmonary edema.", "No findings."),
        ("No effusion, no consolidation. No pacemaker.", "No findings."),
        ("Pacemaker in place. No effusion.", "Pacemaker in place."),
        ("Virtual patient. Female, 63 years, PA view. No PTX.", "Virtual patient. Female, 63 years, PA view. No findings."),
        ("A 2.5 cm nodular density is seen.", "Nodule."),
        ("Xyzzy.", "Xyzzy."),
        ("", ""),
    ],
)  # fmt: skip
def test_a_sentence_is_said_in_the_captions_words_and_denials_are_not_said(given, taught, known):
    assert in_taught_words(given, known) == taught


def test_the_pipelines_own_prompts_stay_as_they_are(known):
    vocabulary = Vocabulary.load()
    for concept in vocabulary.pathologies:
        sides = {concept: "left"} if vocabulary.by_name[concept].sided else {}
        text = f"Virtual patient. {prompt([concept, 'effusion'], vocabulary, sides)}"
        assert in_taught_words(text, known) == text


def test_the_embedded_model_reads_them_the_same():
    model = load_model()
    given, taught, denied, other = model.encode_text(
        ["A left-sided PTX is noted.", "Left pneumothorax.", "No pneumothorax.", "Pneumothorax."]
    )
    assert given.equal(taught)
    assert not denied.equal(other)


def test_a_prompt_that_is_too_long_is_named_once_and_short_ones_are_not(caplog):
    long = "Left mass. " * 40
    load_model().encode_text([long, "Left mass.", long])
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("The prompt 'Left mass. Left mass.")
    assert caplog.messages[0].endswith("of which the model reads 64.")
