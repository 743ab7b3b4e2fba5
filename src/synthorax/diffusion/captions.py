"""What is said of each training film.

A caption is what the pipeline's prompts say (``perturbations.prompt``), with and without sides, or the
report's impression, or the set's own label names; its domain stands before it half of the time.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from synthorax.concepts import Vocabulary, annotate_studies, vector_of
from synthorax.diffusion.films import Films
from synthorax.perturbations import prompt
from synthorax.phantom import withheld_pairs
from synthorax.phantom.combinations import has_pair
from synthorax.studies import read_manifest

VIRTUAL, REAL = "Virtual patient.", "Chest film."


def domain(is_real: bool) -> str:
    """The words for the kind of film, which guidance may leave alone by pushing away from them."""
    return REAL if is_real else VIRTUAL


#: A caption and the findings that it says, as the prompts' own sentences, with and without sides.
Caption = tuple[str, frozenset[str]]


def captions(manifests: Sequence[Path]) -> dict[str, tuple[Caption, ...]]:
    """The captions of each film that may be trained on: ``image_id`` to one or more.

    They come from the manifests' reports, sides and labels. A film of which nothing is known has an empty caption. A
    film that shows both labels of a withheld pair is left out, real or virtual.
    """
    vocabulary = Vocabulary.load()
    withheld = withheld_pairs()
    said = {}
    for manifest in manifests:
        studies = read_manifest(manifest)
        table = annotate_studies(studies, vocabulary)
        for study, row in zip(studies.iter_rows(named=True), table.iter_rows(named=True), strict=True):
            present = vector_of(row, vocabulary).present
            if not has_pair(present - {vocabulary.unremarkable}, withheld, vocabulary):
                said[study["image_id"]] = tuple(_captions(study, present, vocabulary))
    return said


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


def choose(choices: Sequence[Caption], is_real: bool, rng: np.random.Generator) -> Caption:
    """One of a film's captions; its domain before it half of the time."""
    text, findings = choices[int(rng.integers(len(choices)))]
    if rng.random() < 0.5:
        return f"{domain(is_real)} {text}".strip(), findings | {domain(is_real)}
    return text, findings
