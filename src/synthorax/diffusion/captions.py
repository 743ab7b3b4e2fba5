"""What is said of each training film.

A caption is what the pipeline's prompts say (``perturbations.prompt``), with and without sides, or the
report's impression, or the set's own label names. Half of the captions also name what other vocabularies see
(oedema, atelectasis, devices), half say who was filmed; the domain stands before half of them.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.concepts import Vocabulary, annotate_studies, vector_of
from synthorax.diffusion.films import Films
from synthorax.perturbations import prompt
from synthorax.phantom import withheld_pairs
from synthorax.phantom.combinations import has_pair
from synthorax.studies import read_manifest

#: The words for the kind of film, which guidance may leave alone by pushing away from them.
VIRTUAL, REAL = "Virtual patient.", "Chest film."

#: What a film may show that the pipeline's own vocabulary has no word for: vocabulary and its concepts.
BESIDE = {"radedit": ("pulmonary_oedema", "chest_drain", "pacemaker"), "chexpert": ("atelectasis",)}
SEXES = {"F": "Female", "M": "Male"}

#: A caption and the findings that it says, as the prompts' own sentences, with and without sides.
Caption = tuple[str, frozenset[str]]


def captions(manifests: Sequence[Path], says_who: bool = True) -> dict[str, tuple[Caption, ...]]:
    """The captions of each film that may be trained on: ``image_id`` to one or more.

    They come from the manifests' reports, sides and labels, and from who was filmed unless ``says_who`` is false. A film of
    which nothing is known has an empty caption. A film that shows both labels of a withheld pair is left out, real or virtual.
    """
    vocabulary = Vocabulary.load()
    withheld = withheld_pairs()
    said = {}
    for manifest in manifests:
        studies = read_manifest(manifest)
        table, beside = annotate_studies(studies, vocabulary), _beside(studies)
        for study, row, more in zip(
            studies.iter_rows(named=True), table.iter_rows(named=True), beside, strict=True
        ):
            present = vector_of(row, vocabulary).present
            if not has_pair(present - {vocabulary.unremarkable}, withheld, vocabulary):
                found = _captions(study, present, vocabulary)
                if more:
                    found += [(f"{text} {' '.join(more)}".strip(), says | {*more}) for text, says in found]
                who, is_who = person(study["sex"], study["age"], study["view_position"])
                if who and says_who:
                    found += [(f"{who} {text}".strip(), says | is_who) for text, says in found]
                said[study["image_id"]] = tuple(found)
    return said


def _beside(studies: pl.DataFrame) -> list[list[str]]:
    """For each film the sentences of :data:`BESIDE` that its report asserts."""
    sentences: list[list[str]] = [[] for _ in range(studies.height)]
    for name, concepts in BESIDE.items():
        vocabulary = Vocabulary.load(name)
        table = annotate_studies(studies, vocabulary)
        for concept in concepts:
            for film, state in zip(sentences, table[concept], strict=True):
                film += [prompt([concept], vocabulary)] if state == 1 else []
    return sentences


def person(sex: str | None, age: float | None, view: str | None) -> tuple[str, frozenset[str]]:
    """'Female, 63 years, PA view.', what of it is known, and the same as names: sex, decade of age, view."""
    names = {SEXES[sex]: SEXES[sex]} if sex in SEXES else {}
    if age is not None:
        names[f"{age:.0f} years"] = f"{age // 10 * 10:.0f}s"
    if view in ("PA", "AP"):
        names[f"{view} view"] = f"{view} view"
    return (f"{', '.join(names)}." if names else ""), frozenset(names.values())


def _captions(study: dict, present: frozenset[str], vocabulary: Vocabulary) -> list[Caption]:
    sides = {entry["concept"]: entry["side"] for entry in study.get("sides") or []}
    plain = frozenset(prompt([concept], vocabulary) for concept in present)
    sided = plain | {prompt([concept], vocabulary, sides) for concept in present}
    found = [(prompt(present, vocabulary), plain)] if present else []
    if sides:
        found += [(prompt(present, vocabulary, sides), sided)] * 2
    if study["report"] and "IMPRESSION:" in study["report"]:
        found.append((study["report"].split("IMPRESSION:")[-1].strip(), sided))
    if study["labels_present"]:
        found.append((" ".join(f"{label.replace('_', ' ')}." for label in study["labels_present"]), plain))
    return found or [("", plain)]


def without_withheld(films: Films, said: Collection[str]) -> Films:
    """The films with those that have no captions (withheld pairs) held out as well."""
    return replace(films, is_held_out=films.is_held_out | ~np.isin(films.image_ids, list(said)))


def choose(choices: Sequence[Caption], of_kind: str, rng: np.random.Generator) -> Caption:
    """One of a film's captions; the words for its kind, where there are any, before it half of the time."""
    text, findings = choices[int(rng.integers(len(choices)))]
    if of_kind and rng.random() < 0.5:
        return f"{of_kind} {text}".strip(), findings | {of_kind}
    return text, findings
