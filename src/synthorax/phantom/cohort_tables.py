"""A cohort's tables, made from its patients' records: metadata, studies, concepts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from synthorax import __version__
from synthorax.concepts import ConceptVector, Vocabulary, concept_columns, label_column
from synthorax.dataset import metadata_frame, write_metadata
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.phantom.atlas import BUILT_IN, BUILT_IN_RECORD
from synthorax.phantom.findings import INCIDENTAL, SIDE_WORDS
from synthorax.phantom.patient import cohort_patient_ids, film_source
from synthorax.phantom.reports import write_report
from synthorax.seeds import derive_seed

STUDY_COLUMNS = {
    "study_id": pl.String,
    "patient_id": pl.String,
    "image_id": pl.String,
    "file_name": pl.String,
    "report": pl.String,
    "view_position": pl.String,
    "sex": pl.String,
    "age": pl.Float64,
    "race": pl.String,
    "labels_present": pl.List(pl.String),
    "labels_absent": pl.List(pl.String),
    "labels_uncertain": pl.List(pl.String),
    "split": pl.String,
    "source": pl.String,
    "sides": pl.List(pl.Struct({"concept": pl.String, "side": pl.String})),
    "cardiothoracic_ratio": pl.Float64,
    "other_findings": pl.List(pl.String),
    "seed": pl.Int64,
}
#: One row a film and finding. Volumes in ml and shares of lung are NULL for devices; boxes are in pixels.
FINDING_COLUMNS = {
    "image_id": pl.String,
    "patient_id": pl.String,
    "finding": pl.String,
    "side": pl.String,
    "severity": pl.String,
    "diameter_mm": pl.Float64,
    "volume_ml": pl.Float64,
    "lung_fraction": pl.Float64,
    "visible_fraction": pl.Float64,
    "extent_fraction": pl.Float64,
    "boxes": pl.List(pl.Struct({"x": pl.Int32, "y": pl.Int32, "width": pl.Int32, "height": pl.Int32})),
    "mask_file_name": pl.String,
    "extent_file_name": pl.String,
}


def write_tables(out: Path, patient_ids: list[str], mode: str) -> None:
    """Write the tables of these patients, in their order: metadata, studies, concepts, findings.

    ``studies.parquet`` says each film's atlas where any is not the built-in one.
    """
    vocabulary = Vocabulary.load()
    metadata: list[dict[str, Any]] = []
    studies: list[dict[str, Any]] = []
    table: list[dict[str, Any]] = []
    findings: list[dict[str, Any]] = []
    for patient_id in patient_ids:
        record = json.loads((out / f"patients/{patient_id}.json").read_text())
        for film in record["films"]:
            vector = _vector(film["concepts"], record, vocabulary)
            labels = vocabulary.labels_of(vector)
            metadata += _metadata_rows(film, record, vector, mode, vocabulary)
            studies.append(_study_row(film, record, vector, labels, vocabulary))
            findings += _finding_rows(film, record)
            states = {c: int(c in vector.present) for c in vocabulary.concepts}
            columns = {label_column(label): int(bool(value)) for label, value in labels.items()}
            table.append({"study_id": film["image_id"], "patient_id": patient_id, **states, **columns})
    write_metadata(metadata_frame(metadata), out)
    integers = {c: pl.Int8 for c in table[0] if c not in ("study_id", "patient_id")}
    _write(_with_atlas(pl.DataFrame(studies, schema=STUDY_COLUMNS)), out / "studies.parquet")
    _write(pl.DataFrame(findings, schema=FINDING_COLUMNS), out / "findings.parquet")
    _write(pl.DataFrame(table, schema_overrides=integers), out / "concepts.parquet")


def concept_table(cohort: Path | str, vocabulary: Vocabulary) -> pl.DataFrame:
    """A cohort's true findings in any vocabulary: a concept is present where one of its recipes was rendered.

    Incidental findings count too, where the vocabulary has a concept for them (oedema in CheXpert's). Concepts without
    a recipe are absent: nobody put them in. The last concept, ``unremarkable``, follows.

    Args:
        cohort: folder of :func:`~synthorax.phantom.sample_cohort`.
        vocabulary: e.g. ``Vocabulary.load("chexpert")``.

    Returns:
        ``study_id, patient_id``, the concept and label columns, a row a film in the cohort's order.

    Raises:
        InputError: no cohort there.
    """
    settings = Path(cohort) / "cohort.json"
    if not settings.is_file():
        raise InputError(f"{settings} does not exist; expected a cohort of 'synthorax phantom sample'.")
    wanted = json.loads(settings.read_text())
    vectors, keys = [], []
    atlases = [atlas["name"] for atlas in wanted.get("atlases", [BUILT_IN_RECORD])]
    for patient_id in cohort_patient_ids(wanted["seed"], wanted["n"], wanted["site"], atlases):
        record = json.loads((Path(cohort) / f"patients/{patient_id}.json").read_text())
        for film in record["films"]:
            shown = {*film["concepts"], *record["incidentals"]}
            present = {c.name for c in vocabulary.by_name.values() if shown.intersection(c.recipes)}
            diseases = {name for name in shown if name not in INCIDENTAL or INCIDENTAL[name].is_disease}
            normal = {vocabulary.unremarkable} if not diseases else set()
            vectors.append(ConceptVector(frozenset(present | normal)))
            keys.append({"study_id": film["image_id"], "patient_id": patient_id})
    return pl.concat([pl.DataFrame(keys), concept_columns(vectors, vocabulary)], how="horizontal")


def _with_atlas(studies: pl.DataFrame) -> pl.DataFrame:
    atlases = pl.Series("atlas", [film_source(name).atlas for name in studies["patient_id"]])
    return studies if (atlases == BUILT_IN).all() else studies.with_columns(atlases)


def _write(frame: pl.DataFrame, path: Path) -> None:
    with atomic(path) as temporary:
        frame.write_parquet(temporary)


def _vector(concepts: list[str], record: dict[str, Any], vocabulary: Vocabulary) -> ConceptVector:
    """``unremarkable`` only where no disease without a concept is there either."""
    if not concepts and not any(INCIDENTAL[name].is_disease for name in record["incidentals"]):
        return ConceptVector(frozenset({vocabulary.unremarkable}))
    return ConceptVector(frozenset(concepts))


def _metadata_rows(
    film: dict[str, Any], record: dict[str, Any], vector: ConceptVector, mode: str, vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    image_id = film["image_id"]
    file_name = f"images/{image_id}.png"
    common = {
        "study_id": image_id,
        "patient_id": record["patient_id"],
        "concepts_unknown": [],
        "seed": record["seed"],
        "method": "phantom",
        "preset": mode,
        "is_valid": True,
        "is_synthetic": True,
        "is_simulated": True,
        "software_version": __version__,
    }
    yield {
        **common,
        "file_name": file_name,
        "image_id": image_id,
        "counterfactual_file_name": f"counterfactuals/{image_id}__0.png" if film["counterfactuals"] else None,
        "edit_mask_file_name": f"masks/{image_id}__findings.png" if film["concepts"] else None,
        "concepts_after": vocabulary.ordered(vector.present),
        "labels_after": _true_labels(vocabulary.labels_of(vector)),
    }
    for k, other in enumerate(film["counterfactuals"]):
        after = _vector(other, record, vocabulary)
        yield {
            **common,
            "file_name": f"counterfactuals/{image_id}__{k}.png",
            "image_id": f"{image_id}__{k}",
            "source_image_id": image_id,
            "source_file_name": file_name,
            "concepts_before": vocabulary.ordered(vector.present),
            "concepts_after": vocabulary.ordered(after.present),
            "labels_after": _true_labels(vocabulary.labels_of(after)),
        }


def _study_row(
    film: dict[str, Any],
    record: dict[str, Any],
    vector: ConceptVector,
    labels: dict[str, bool | None],
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    anatomy = film["anatomy"]
    report = write_report(
        {c: record["findings"][c] for c in film["concepts"]},
        record["incidentals"],
        is_unremarkable=vocabulary.unremarkable in vector.present,
        view_position=anatomy["view_position"],
        seed=derive_seed(film["image_id"], "report"),
        vocabulary=vocabulary,
    )
    return {
        "study_id": film["image_id"],
        "patient_id": record["patient_id"],
        "image_id": film["image_id"],
        "file_name": f"images/{film['image_id']}.png",
        "report": report,
        "view_position": anatomy["view_position"],
        "sex": anatomy["sex"],
        "age": anatomy["age"],
        "labels_present": _true_labels(labels),
        "labels_absent": [label for label, value in labels.items() if value is False],
        "labels_uncertain": [],
        "source": "phantom",
        "sides": [{"concept": c, "side": s} for c, s in film["sides"].items()],
        "cardiothoracic_ratio": film["cardiothoracic_ratio"],
        "other_findings": list(record["incidentals"]),
        "seed": record["seed"],
    }


def _finding_rows(film: dict[str, Any], record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, known in film["truth"].items():
        params = record["findings"].get(name) or record["incidentals"][name]
        yield {
            "image_id": film["image_id"],
            "patient_id": record["patient_id"],
            "finding": name,
            "side": SIDE_WORDS[params["side"]],
            "severity": params.get("severity"),
            "diameter_mm": params.get("diameter_mm"),
            **{key: known.get(key) for key in ("volume_ml", "lung_fraction")},
            **{key: known[key] for key in ("visible_fraction", "extent_fraction", "boxes")},
            "mask_file_name": f"masks/{film['image_id']}__{name}.png",
            "extent_file_name": f"extents/{film['image_id']}__{name}.png",
        }


def _true_labels(labels: dict[str, bool | None]) -> list[str]:
    return [label for label, value in labels.items() if value]
