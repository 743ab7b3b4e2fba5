"""240 sentences and reports in the style of MIMIC, written by someone who had not seen the annotator."""

from pathlib import Path

import pytest
import yaml

from synthorax.concepts import Vocabulary
from synthorax.concepts.annotator import annotate

CORPA = Vocabulary.load()
TRAPS = yaml.safe_load(Path(__file__).with_name("traps.yaml").read_text())


@pytest.fixture(scope="module")
def read():
    return [annotate(trap["text"], CORPA) for trap in TRAPS]


def test_the_traps_are_enough_and_known():
    assert len(TRAPS) >= 200 and len({trap["text"] for trap in TRAPS}) == len(TRAPS)
    assert {name for trap in TRAPS for name in trap["present"]} == set(CORPA.concepts)


def test_95_percent_are_right_in_every_concept(read):
    right = [a.vector.present == set(trap["present"]) for a, trap in zip(read, TRAPS, strict=True)]
    wrong = [trap["text"] for ok, trap in zip(right, TRAPS, strict=True) if not ok]
    assert sum(right) >= 0.95 * len(TRAPS), wrong


def test_sides_are_read(read):
    asked = [
        (side, {m.laterality for m in a.mentions if m.concept == concept and m.state == "asserted"})
        for a, trap in zip(read, TRAPS, strict=True)
        for concept, side in trap.get("sides", {}).items()
    ]
    assert len(asked) > 100
    assert sum(side in found for side, found in asked) >= 0.95 * len(asked)


def test_what_is_hedged_is_not_asserted(read):
    hedged = [
        (concept, a)
        for a, trap in zip(read, TRAPS, strict=True)
        for concept in set(trap.get("uncertain") or []) - set(trap["present"])
    ]
    assert len(hedged) > 20
    for concept, a in hedged:
        assert concept not in a.vector.present


@pytest.mark.parametrize(
    ("sentence", "location"),
    [
        ("A 1.3 cm nodule is present in the left upper lobe.", "upper"),
        ("RLL consolidation.", "lower"),
        ("Small apical pneumothorax.", "apex"),
        ("Bibasilar opacities.", "base"),
        ("Retrocardiac consolidation.", "retrocardiac"),
        ("Left pleural effusion.", None),
    ],
)
def test_locations(sentence, location):
    (mention,) = annotate(sentence, CORPA).mentions
    assert mention.location == location
