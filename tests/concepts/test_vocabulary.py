"""The vocabulary: labels by three-valued logic, rules, and sentences for a broken file."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthorax.concepts import ConceptVector, Vocabulary, concept_columns, label_column
from synthorax.errors import InputError

CORPA = Vocabulary.load()


@st.composite
def vectors(draw, vocabulary=CORPA):
    """Any vector: each concept present, absent or unknown."""
    states = draw(st.lists(st.sampled_from([True, False, None]), min_size=17, max_size=17))
    named = dict(zip(vocabulary.concepts, states, strict=True))
    return ConceptVector({c for c, s in named.items() if s}, {c for c, s in named.items() if s is None})


def test_the_shipped_vocabulary_is_the_contract():
    assert len(CORPA.concepts) == 17 and CORPA.labels[-1] == "No Relevant Finding"
    assert CORPA.concepts_of("Cardiomegaly") == ("enlarged_heart",)
    assert CORPA.concepts_of("Pneumothorax") == ("absent_lung_markings", "irregular_diaphragm")
    assert (
        CORPA.phrase("enlarged_heart") == "Enlarged heart" and CORPA.phrase("unremarkable") == "No findings"
    )
    assert label_column("Pleural Effusion") == "label_pleural_effusion"


@pytest.mark.parametrize(
    ("present", "unknown", "label", "expected"),
    [
        ({"effusion"}, {"fluid"}, "Pleural Effusion", True),
        ({"mass"}, {"fluid"}, "Pleural Effusion", None),
        ({"mass"}, {"fluid"}, "No Relevant Finding", False),
        ({"mass"}, set(), "Pleural Effusion", False),
        (set(), {"fluid"}, "No Relevant Finding", None),
        (set(), set(), "No Relevant Finding", True),
        (set(), {"unremarkable"}, "No Relevant Finding", True),
        ({"unremarkable"}, {"fluid"}, "No Relevant Finding", True),
        ({"unremarkable"}, {"fluid"}, "Pleural Effusion", False),
        ({"unremarkable", "mass"}, {"fluid"}, "Pleural Effusion", None),
    ],
)
def test_labels_keep_unknown_apart(present, unknown, label, expected):
    assert CORPA.labels_of(ConceptVector(present, unknown))[label] is expected


@given(vectors())
def test_a_known_label_is_the_same_for_every_value_of_the_unknown(vector):
    """Kleene logic: what is decided does not depend on what is unknown (an unremarkable film decides more)."""
    if "unremarkable" in vector.present | vector.unknown:
        return
    unknown = sorted(vector.unknown)[:6]
    rest = vector.unknown - set(unknown)
    labels = CORPA.labels_of(vector)
    for values in itertools.product([True, False], repeat=len(unknown)):
        filled = ConceptVector(vector.present | {c for c, v in zip(unknown, values, strict=True) if v}, rest)
        for label, value in CORPA.labels_of(filled).items():
            assert labels[label] in (None, value)


@settings(max_examples=10, deadline=None)
@given(st.lists(vectors(), min_size=20, max_size=40))
def test_scalar_and_column_labels_agree(many):
    for vocabulary in (CORPA, CORPA.under("corpa")):
        rows = concept_columns(many, vocabulary).iter_rows(named=True)
        for vector, row in zip(many, rows, strict=True):
            for label, value in vocabulary.labels_of(vector).items():
                assert row[label_column(label)] == (None if value is None else int(value))


def test_opacities_alone_are_an_effusion_only_under_corpa():
    alone, beside = ConceptVector({"opacities"}), ConceptVector({"opacities", "consolidation"})
    corpa = CORPA.under("corpa")
    assert CORPA.true_labels(alone) == ("Pneumonia",)
    assert corpa.true_labels(alone) == ("Pleural Effusion",) and corpa.true_labels(beside) == ("Pneumonia",)
    assert corpa.supporting("Pleural Effusion", alone) == {"opacities"}
    assert corpa.supporting("Pneumonia", beside) == {"opacities", "consolidation"}
    maybe = ConceptVector({"opacities"}, {"consolidation"})
    assert corpa.labels_of(maybe)["Pneumonia"] is None and corpa.labels_of(maybe)["Pleural Effusion"] is None


def test_unremarkable_is_suppressed_and_never_valid_beside_another():
    assert CORPA.suppressed(ConceptVector({"unremarkable", "mass"})).present == {"mass"}
    assert CORPA.is_valid({"unremarkable"}) and not CORPA.is_valid({"unremarkable", "mass"})
    assert CORPA.is_valid({"mass", "effusion"})
    table = concept_columns([ConceptVector({"unremarkable", "mass"})], CORPA)
    assert table["unremarkable"][0] == 0 and table["mass"][0] == 1


def test_a_concept_cannot_be_present_and_unknown():
    with pytest.raises(ValueError, match="'mass' is both present and unknown"):
        ConceptVector({"mass"}, {"mass"})


OWN = """\
name: devices
labels: [Device, Nothing]
concepts:
  unremarkable: {label: Nothing, prompt: No device}
  drain: {label: Device, prompt: Chest drain, phrases: [chest (drain | tube)]}
  pacemaker: {label: Device, prompt: Pacemaker, phrases: [pacemaker]}
never_together:
  - [unremarkable, "*"]
policies:
  strict: {counts_as_present: [asserted]}
"""


def test_a_users_vocabulary(tmp_path):
    path = tmp_path / "devices.yaml"
    path.write_text(OWN)
    own = Vocabulary.load(path)
    assert own.labels == ("Device", "Nothing") and own.true_labels(ConceptVector({"drain"})) == ("Device",)
    assert own.by_name["drain"].phrases == ("chest drain", "chest tube", "chest drains", "chest tubes")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "label: Device, prompt: Chest",
            "label: Devise, prompt: Chest",
            r"line 5: concepts.drain.label is 'Devise'",
        ),
        ("phrases: [pacemaker]", "words: [pacemaker]", r"line 6: concepts.pacemaker.words extra inputs"),
        ("prompt: No device", "phrases: []", r"line 4: concepts.unremarkable.prompt field required"),
        ("[asserted]", "[maybe]", r"line 10: policies.strict.counts_as_present.0 is 'maybe'"),
        ('[unremarkable, "*"]', "[nothing]", r"line 8: never_together.0.0 is 'nothing'"),
        ("[Device, Nothing]", "[Device, Other, Nothing]", r"line 2: labels.1 has no concept"),
        ("[Device, Nothing]", "[Nothing, Device]", r"line 2: labels must end with"),
        ("name: devices", "name: [", r"is not YAML"),
    ],
)
def test_a_broken_vocabulary_is_one_sentence_with_file_and_line(tmp_path, old, new, message):
    path = tmp_path / "own.yaml"
    assert old in OWN
    path.write_text(OWN.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_wrong_names_get_the_closest_match():
    with pytest.raises(InputError, match="Did you mean 'strict'"):
        CORPA.under("strikt")
    with pytest.raises(InputError, match="Did you mean 'effusion'"):
        CORPA.phrase("efusion")
    with pytest.raises(InputError, match=r"vocabulary is 'corpo'.*Did you mean 'corpa'"):
        Vocabulary.load("corpo")


def test_many_rows_at_once():
    many = concept_columns([ConceptVector({"mass"}), ConceptVector(unknown=frozenset(CORPA.concepts))], CORPA)
    assert many["label_suspicious_malignancy"].to_list() == [1, None]
    assert many["label_no_relevant_finding"].to_list() == [0, None]
    assert np.all([dtype.is_integer() for dtype in many.dtypes])
