"""What a protocol trains and tests on: real films by split, synthetic films by arm, and what is kept out of them.

No synthetic film that was made from a patient of validation or test is trained on: it is left out and counted, since
such a dataset is usually made of a whole manifest and the rest of it is good.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.examples import Examples, read_examples
from synthorax.concepts import ConceptVector, Vocabulary, read_concepts
from synthorax.dataset import read_metadata
from synthorax.errors import InputError, unknown_choice
from synthorax.seeds import derive_seed
from synthorax.studies import read_manifest

VALIDATION_SPLITS = ("validation", "validate", "val")
KEPT, TRAIN, EXTERNAL = "kept", "train", "external"
NO_LABELS = "left out: no labels"


@dataclass(frozen=True)
class Arm:
    """Synthetic films of one method; ``frame`` has a metadata row each, with its ``folder``."""

    examples: Examples
    frame: pl.DataFrame


@dataclass(frozen=True)
class FilmSets:
    """Real films and the synthetic ones that may be trained on.

    Attributes:
        real: train, validation and test films, and those of external sites, undersampled where asked for.
        arms: method -> its films, of training patients alone.
        sites: image_id -> site, where the manifest has such a column.
        outcomes: a row for each folder, arm and outcome of synthetic films: ``folder, arm, outcome, n``, and of these
            ``n_retried`` that took more than one try.
        counts: what happened to the real films, in words, with numbers.
        is_simulated: every real film is a virtual patient's.
    """

    real: Examples
    arms: Mapping[str, Arm]
    sites: Mapping[str, str | None]
    outcomes: pl.DataFrame
    counts: Mapping[str, int]
    is_simulated: bool

    @property
    def train(self) -> Examples:
        return self.real.split(TRAIN)

    @property
    def validation(self) -> Examples:
        return self.real.split("validation")

    @property
    def tests(self) -> dict[str, Examples]:
        """Name -> films that are tested on: of the same sites, and of external ones where there are any."""
        external = self.real.split(EXTERNAL)
        return {"internal": self.test, EXTERNAL: external} if len(external) else {"test": self.test}

    @property
    def test(self) -> Examples:
        return self.real.split("test")


@dataclass(frozen=True)
class Cohort(FilmSets):
    """Film sets of classifiers.

    Attributes:
        concepts: all real films, not undersampled, with concepts as targets.
        vocabulary: what the concepts are.
    """

    concepts: Examples = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)


def read_cohort(
    studies: Path,
    concepts: Path,
    synthetic: Sequence[str],
    *,
    normal_ratio: float | None = None,
    site_column: str | None = None,
    external_sites: Sequence[str] | None = None,
) -> Cohort:
    """Read and join everything.

    Args:
        studies: manifest; where no film is of a validation split, one training patient in nine becomes it.
        concepts: its concept table.
        synthetic: dataset folders, or ``NAME=FOLDER`` to name the arm; otherwise the method does.
        normal_ratio: films without any label are kept up to so many times the most frequent label's, in each split.
        site_column: the manifest's column of the site.
        external_sites: all films of these are a test set of their own, whatever their split.

    Raises:
        InputError: a table does not fit, a split is empty, or a synthetic film's labels are not what the rules
            derive from its concepts.
    """
    manifest = read_manifest(studies)
    sites = sites_of(manifest, site_column)
    everything = split_films(read_examples(studies, concepts), studies, sites, external_sites)
    real = _undersampled(everything, normal_ratio)
    vocabulary = read_concepts(concepts)[1]

    def targets_of(row: Mapping, folder: Path) -> list[float] | None:
        if row["concepts_after"] is None and row["labels_after"] is None:
            return None
        return synthetic_targets(row, everything.labels, vocabulary, folder)

    arms, outcomes = read_arms(synthetic, everything, targets_of)
    return Cohort(
        real=real,
        arms=arms,
        sites=sites,
        outcomes=outcomes,
        counts={
            "films in the manifest": len(everything),
            "left out by undersampling films without findings": len(everything) - len(real),
            **counts_of(real),
        },
        is_simulated=is_simulated(manifest),
        concepts=replace(read_examples(studies, concepts, "concepts"), splits=everything.splits),
        vocabulary=vocabulary,
    )  # fmt: skip


def sites_of(manifest: pl.DataFrame, column: str | None) -> dict[str, str | None]:
    """image_id -> site.

    Raises:
        InputError: the manifest has no such column.
    """
    if column is None:
        return {}
    if column not in manifest.columns:
        raise unknown_choice("films.site_column", column, manifest.columns)
    return dict(zip(manifest["image_id"], manifest[column], strict=True))


def split_films(
    films: Examples,
    studies: Path,
    sites: Mapping[str, str | None],
    external_sites: Sequence[str] | None,
    needed: Sequence[str] = (TRAIN, "validation", "test"),
) -> Examples:
    """Films with the splits that a protocol uses: train, validation, test, and external where sites are.

    Raises:
        InputError: no such site, a patient in several splits, or a split without films.
    """
    known = sorted({site for site in sites.values() if site is not None})
    if unknown := sorted({*(external_sites or ())} - {*known}):
        raise InputError(
            f"films.external_sites names {unknown[0]!r}; the manifest's sites are {', '.join(known) or 'not given'}. Name them, "
            "or test internally alone by --set films.external_sites=null."
        )
    splits = [
        EXTERNAL if external_sites and sites[image_id] in external_sites else split
        for image_id, split in zip(films.image_ids, films.splits, strict=True)
    ]
    films = _with_validation(replace(films, splits=tuple(splits)))
    splits_of_patient = Counter(
        patient for patient, _ in {*zip(films.patient_ids, films.splits, strict=True)}
    )
    torn = [patient for patient, n in splits_of_patient.items() if n > 1]
    if torn:
        raise InputError(
            f"{studies} has films of patient {torn[0]!r} in several splits, and of {len(torn) - 1} more patients; a patient "
            "belongs to one. Correct the column 'split', or leave it empty to have patients split."
        )
    for split in needed:
        if not len(films.split(split)):
            raise InputError(
                f"{studies} has no film of the split {split!r}; a protocol needs train and test."
            )
    return films


def counts_of(real: Examples) -> dict[str, int]:
    """Films and patients of each split."""
    splits = [split for split in (TRAIN, "validation", "test", EXTERNAL) if len(real.split(split))]
    return {
        **{f"{split} films": len(real.split(split)) for split in splits},
        **{f"{split} patients": len({*real.split(split).patient_ids}) for split in splits},
    }


def is_simulated(manifest: pl.DataFrame) -> bool:
    """Whether every film is a virtual patient's."""
    return bool((manifest["source"] == "phantom").fill_null(False).all())


def read_arms(
    folders: Sequence[str], real: Examples, targets_of: Callable[[Mapping, Path], list[float] | None]
) -> tuple[dict[str, Arm], pl.DataFrame]:
    """Synthetic films by arm; which are left out, and why, is counted in the table beside them.

    Args:
        folders: as in :func:`read_cohort`.
        real: all real films with their splits, before any undersampling.
        targets_of: a film's row and its folder to its ``(L,)`` targets; None leaves the film out.
    """
    split_of_patient = dict(zip(real.patient_ids, real.splits, strict=True))
    patient_of_image = dict(zip(real.image_ids, real.patient_ids, strict=True))
    kept: dict[str, list[dict]] = {}
    outcomes: Counter[tuple[str, str, str]] = Counter()
    retried: Counter[tuple[str, str, str]] = Counter()
    for word in folders:
        name, equals, place = word.rpartition("=")
        folder = Path(place)
        for row in read_metadata(folder).iter_rows(named=True):
            arm = name if equals else arm_of(row)
            patient = patient_of_image.get(row["source_image_id"], row["patient_id"])
            outcome = _outcome(row, split_of_patient.get(patient), patient)
            targets = targets_of(row, folder) if outcome == KEPT else None
            if outcome == KEPT and targets is None:
                outcome = NO_LABELS
            outcomes[str(folder), arm, outcome] += 1
            retried[str(folder), arm, outcome] += (row["n_tries"] or 1) > 1
            if outcome == KEPT:
                kept.setdefault(arm, []).append({**row, "patient_id": patient, "folder": str(folder), "targets": targets})  # fmt: skip
        if (refused := folder.parent / "rejected.csv").is_file() and folder.name == "synthetic":
            n = pl.read_csv(refused, infer_schema=False).height
            if n:
                outcomes[
                    str(folder), name or "any", f"films that no edit was made of, see {refused.name} there"
                ] += n
    table = pl.DataFrame(
        [(*key, n, retried[key]) for key, n in outcomes.items()],
        schema={
            "folder": pl.String,
            "arm": pl.String,
            "outcome": pl.String,
            "n": pl.Int64,
            "n_retried": pl.Int64,
        },
        orient="row",
    )
    if folders and not kept:
        said = "; ".join(f"{n} {outcome}" for (_, _, outcome), n in outcomes.items()) or "it is empty"
        raise InputError(f"no synthetic film of {', '.join(folders)} may be trained on: {said}.")
    return {arm: _arm(rows, real.labels) for arm, rows in kept.items()}, table


def arm_of(row: Mapping) -> str:
    """CARS's edits, CoRPA's whole films, those with annotations, sham edits; edits by another method than RadEdit's say so."""
    if row["perturbation_type"] == "sham":
        return "sham"
    if row["method"] == "text-to-image":
        return "CoRPA"
    if row["method"] == "annotation-to-image":
        return "annotated"
    return "CARS" if row["method"] in ("radedit", None) else f"CARS by {row['method']}"


def synthetic_targets(
    row: Mapping, labels: Sequence[str], vocabulary: Vocabulary, folder: Path
) -> list[float]:
    """A film's labels by the rules of real films: 1, 0, or NaN where unknown concepts leave it open.

    Raises:
        InputError: ``labels_after`` says something else than the rules.
    """
    if row["concepts_after"] is None:
        return [float(label in row["labels_after"]) for label in labels]
    if strange := sorted({*row["concepts_after"], *(row["concepts_unknown"] or [])} - {*vocabulary.concepts}):
        raise InputError(
            f"{folder}: {row['file_name']} has the concept {strange[0]!r}, which vocabulary {vocabulary.name!r} has not. "
            "Annotate the real films with the vocabulary that the plan was made with."
        )
    vector = ConceptVector(frozenset(row["concepts_after"]), frozenset(row["concepts_unknown"] or ()))
    derived = vocabulary.labels_of(vector)
    true = {label for label in labels if derived[label]}
    if row["labels_after"] is not None and true != {*row["labels_after"]} & {*labels}:
        raise InputError(
            f"{folder}: {row['file_name']} says {', '.join(row['labels_after']) or 'no label'}, but its concepts give "
            f"{', '.join(sorted(true)) or 'none'} under vocabulary {vocabulary.name!r}. Annotate the real films with the "
            "vocabulary and policy that the plan was made with."
        )
    return [np.nan if derived[label] is None else float(bool(derived[label])) for label in labels]


def some(films: Examples, n: int, *seed: object) -> Examples:
    """``n`` films in an order that seed and image_id decide, so that fewer are among more."""
    order = sorted(range(len(films)), key=lambda row: (derive_seed("some", *seed, films.image_ids[row]), row))
    chosen = set(order[:n])
    return films.where([row in chosen for row in range(len(films))])


def some_patients(films: Examples, fraction: float, *seed: object) -> Examples:
    """Whole patients, in an order that the seed decides, until the fraction of films is reached; at least one."""
    wanted = max(1, round(fraction * len(films)))
    chosen: set[str] = set()
    n = 0
    sizes = Counter(films.patient_ids)
    for patient in sorted(sizes, key=lambda patient: (derive_seed("patients", *seed, patient), patient)):
        if n >= wanted:
            break
        chosen.add(patient)
        n += sizes[patient]
    return films.where([patient in chosen for patient in films.patient_ids])


def some_of_each(films: Examples, n: int, *seed: object) -> Examples:
    """``n`` films that show each label, and ``n`` that show none, as far as there are so many."""
    order = sorted(range(len(films)), key=lambda row: derive_seed("shots", *seed, films.image_ids[row]))
    shown = np.column_stack([films.targets == 1, is_normal(films)])
    chosen = {row for column in shown.T for row in [row for row in order if column[row]][:n]}
    return films.where([row in chosen for row in range(len(films))])


def is_normal(films: Examples) -> np.ndarray:
    """``(N,)`` whether every label is known to be absent: No Relevant Finding."""
    return (films.targets == 0).all(axis=1)


def _outcome(row: Mapping, split: str | None, patient: str | None) -> str:
    """What becomes of a synthetic film."""
    if row["is_valid"] is False:
        return f"left out: not valid, {row['reject_reason'] or 'no reason given'}"
    if split in ("validation", "test", EXTERNAL):
        return f"left out: made from a patient of {split}"
    if split is None and (patient is not None or row["source_image_id"] is not None):
        return "left out: its source is not among the real films"
    return KEPT


def _arm(rows: list[dict], labels: tuple[str, ...]) -> Arm:
    frame = pl.DataFrame(
        [{key: value for key, value in row.items() if key != "targets"} for row in rows],
        infer_schema_length=None,
    )
    patients = [row["patient_id"] or f"{row['folder']}/{row['file_name']}" for row in rows]
    examples = Examples(
        labels=labels,
        paths=tuple(str(Path(row["folder"]) / row["file_name"]) for row in rows),
        targets=np.array([row["targets"] for row in rows], np.float32),
        image_ids=tuple(f"{row['folder']}/{row['file_name']}" for row in rows),
        patient_ids=tuple(patients),
        splits=(TRAIN,) * len(rows),
    )
    return Arm(examples, frame)


def _with_validation(films: Examples) -> Examples:
    """One name for the validation split; where there is none, one training patient in nine becomes it."""
    splits = ["validation" if split in VALIDATION_SPLITS else split for split in films.splits]
    if "validation" not in splits:
        splits = [
            "validation" if split == TRAIN and derive_seed("validation", patient) % 9 == 0 else split
            for split, patient in zip(splits, films.patient_ids, strict=True)
        ]
    return replace(films, splits=tuple(splits))


def _undersampled(films: Examples, ratio: float | None) -> Examples:
    """CARS section 2: films without findings at most ``ratio`` times the most frequent label's, split by split."""
    if ratio is None:
        return films
    keep = ~is_normal(films)
    for split in {*films.splits}:
        rows = np.flatnonzero(np.array([name == split for name in films.splits]))
        limit = round(ratio * (films.targets[rows] == 1).sum(axis=0).max())
        normal = [films.image_ids[row] for row in rows if not keep[row]]
        taken = set(sorted(normal, key=lambda image_id: derive_seed("undersample", image_id))[:limit])
        keep[rows] |= [films.image_ids[row] in taken for row in rows]
    return films.where(keep.tolist())
