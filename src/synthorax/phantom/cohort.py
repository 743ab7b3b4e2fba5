"""Cohorts of virtual patients as a dataset folder.

    images/<image_id>.png                  films
    masks/<image_id>__<finding>.png        visible part of each finding; __findings (all), __lung, __heart
    masks/<image_id>__<structure>.png      where asked: lung_left, lobe_right_upper, ribs, clavicle_left, aorta ...
    extents/<image_id>__<finding>.png      where each finding lies, hidden parts included
    counterfactuals/<image_id>__<k>.png    the same patient with other findings
    patients/<patient_id>.json             everything that was drawn, replayable
    metadata.parquet, studies.parquet, concepts.parquet, cohort.json
    findings.parquet                       a row a film and finding: side, severity, ml, share of lung, boxes, masks

``file_name`` is relative to the folder throughout. A patient depends on the cohort's seed and atlases and its
own index alone, so neither order nor the number of workers nor an interruption changes a byte.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from synthorax import __version__
from synthorax.concepts import Vocabulary
from synthorax.dataset import read_png, write_png
from synthorax.errors import InputError, RunError, unknown_choice
from synthorax.files import atomic
from synthorax.phantom.atlas import (
    ATLAS_VERSION,
    BUILT_IN,
    BUILT_IN_RECORD,
    Atlas,
    atlas_record,
    atlases_at_hand,
)
from synthorax.phantom.cohort_tables import write_tables
from synthorax.phantom.combinations import LabelPair, draw_concepts, withheld_pairs
from synthorax.phantom.patient import (
    MODES,
    Film,
    Finding,
    VirtualPatient,
    cohort_patient_ids,
    film_source,
    image_id_of,
    reduce_mask,
)
from synthorax.phantom.processes import in_processes
from synthorax.phantom.sites import DEFAULT_SITE, site_style
from synthorax.progress import track
from synthorax.seeds import generator


def cohort_masks(studies: Path, image_ids: Sequence[str], name: str) -> list[np.ndarray]:
    """One mask of each film of a cohort, bool ``(H, W)``, empty where the film does not show it.

    Args:
        studies: the cohort's ``studies.parquet``.
        image_ids: whose masks.
        name: as in the files' names: ``lung``, ``heart``, a finding, or with ``--structures`` a structure.

    Raises:
        InputError: no film has such a mask.
    """
    folder = studies.parent / "masks"
    paths = [folder / f"{image_id}__{name}.png" for image_id in image_ids]
    there = next((path for path in paths if path.is_file()), None)
    if there is None:
        names = {path.stem.rpartition("__")[2] for path in folder.glob("*__*.png")}
        raise unknown_choice(f"mask of {studies.parent}", name, sorted(names))
    shape = read_png(there).shape
    return [read_png(path) > 0.5 if path.is_file() else np.zeros(shape, bool) for path in paths]


@dataclass(frozen=True)
class CohortSettings:
    """What a cohort's bytes depend on, kept in ``cohort.json``.

    ``atlases`` (name, licence and checksums of each) is left out there where the built-in one is alone.
    """

    n: int
    seed: int
    size: int
    mode: str
    pairs: str
    listed_pairs: tuple[tuple[str, str], ...]
    counterfactuals: int
    renderings: int
    site: str
    structures: bool
    software_version: str = __version__
    atlas_version: int = ATLAS_VERSION
    atlases: tuple[dict[str, str], ...] = (BUILT_IN_RECORD,)

    @property
    def atlas_names(self) -> list[str]:
        return [atlas["name"] for atlas in self.atlases]

    def as_json(self) -> dict[str, object]:
        plain = json.loads(json.dumps(asdict(self)))
        if self.atlas_names == [BUILT_IN]:
            del plain["atlases"]
        return plain


def sample_cohort(
    n: int,
    seed: int,
    out: Path | str,
    *,
    size: int = 256,
    pairs: str = "any",
    exclude_pairs: Iterable[LabelPair] | None = None,
    counterfactuals: int = 0,
    renderings: int = 1,
    workers: int = 2,
    mode: str = "physical",
    site: str = DEFAULT_SITE,
    structures: bool = False,
    atlases: Sequence[str] | None = None,
    wheel: Path | str | None = None,
    cache_dir: Path | str | None = None,
) -> Path:
    """Write a cohort of virtual patients; started again over a killed run, it finishes that run.

    Args:
        n: patients.
        seed: of the cohort.
        out: folder to write; made where missing.
        size: side of the films (px), at most 512.
        pairs: ``any`` combination of labels, only ``allowed`` ones, or only films with a ``withheld`` pair.
        exclude_pairs: the pairs of labels that ``allowed`` and ``withheld`` speak of; default
            :func:`~synthorax.phantom.combinations.withheld_pairs`. Given with ``pairs="any"`` they are excluded.
        counterfactuals: further films per film: the first without findings (with some, where the film has none),
            the others with findings drawn anew.
        renderings: films (takes) per patient, each with findings, position and exposure drawn anew.
        workers: processes.
        mode: ``physical`` or ``strict``, see :meth:`VirtualPatient.render`.
        site: the hospital's style, see :func:`~synthorax.phantom.sites.site_styles`.
        structures: write a mask of each anatomical structure too.
        atlases: names; default all at hand, see :func:`~synthorax.phantom.atlas.atlases_at_hand`. Cohorts of other
            atlases share no anatomy, cohorts of other seeds no patient.
        wheel, cache_dir: see :meth:`Atlas.load`.

    Returns:
        The folder.

    Raises:
        InputError: a setting out of range, an atlas that is not at hand.
        RunError: the folder holds a cohort with other settings.
    """
    if n < 1 or renderings < 1 or counterfactuals < 0 or workers < 1:
        raise InputError(
            f"n is {n}, renderings {renderings}, counterfactuals {counterfactuals}, workers {workers}; "
            "expected at least 1, 1, 0 and 1."
        )
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; expected one of {', '.join(MODES)}.")
    site_style(site)
    listed = (
        withheld_pairs() if exclude_pairs is None else frozenset(frozenset(pair) for pair in exclude_pairs)
    )
    pairs = "allowed" if exclude_pairs is not None and pairs == "any" else pairs
    draw_concepts(generator(seed), Vocabulary.load(), pairs, listed)  # refuses wrong pairs before work starts
    sorted_pairs = tuple(sorted((min(p), max(p)) for p in listed))
    settings = CohortSettings(
        n,
        seed,
        size,
        mode,
        pairs,
        sorted_pairs,
        counterfactuals,
        renderings,
        site,
        structures,
        atlases=_records(atlases, cache_dir),
    )
    out = Path(out)
    _claim(out, settings)
    ids = cohort_patient_ids(seed, n, site, settings.atlas_names)
    if BUILT_IN in settings.atlas_names:
        Atlas.load(cache_dir, wheel)  # built here, once, before workers ask for it
    todo = [(index, name) for index, name in enumerate(ids) if not _is_whole(out, name)]
    todo.sort(key=lambda item: film_source(item[1]).atlas)  # each process loads an atlas once
    make = partial(make_patient, str(out), settings, str(cache_dir) if cache_dir else None)
    done = f" ({n - len(todo)} of {n} already there)" if len(todo) < n else ""
    for _ in track(
        in_processes(make, todo, workers), f"Virtual patients{done}", total=len(todo), unit="patients"
    ):
        pass
    write_tables(out, ids, settings.mode)
    return out


def make_patient(folder: str, settings: CohortSettings, cache_dir: str | None, who: tuple[int, str]) -> None:
    """Write one patient's films, masks and counterfactuals, and last the record that they are whole."""
    out, vocabulary = Path(folder), Vocabulary.load()
    index, patient_id = who
    seed, _, site, atlas = film_source(patient_id)
    first = VirtualPatient(seed, Atlas.load(cache_dir, name=atlas), site=site)
    listed = frozenset(frozenset(pair) for pair in settings.listed_pairs)
    drawn: dict[str, dict[str, object]] = {}
    films: list[dict[str, object]] = []
    for take in range(settings.renderings):
        patient = first if take == 0 else first.retaken(take)
        image_id = image_id_of(seed, take, site, atlas)
        concepts = draw_concepts(
            generator(patient.seed, "concepts", take), vocabulary, settings.pairs, listed
        )
        others = list(_other_sets(patient.seed, take, concepts, settings, vocabulary, listed))
        found = {c: patient.finding(c) for c in {*concepts, *(c for other in others for c in other)}}
        film = patient.render([found[c] for c in concepts], settings.mode, settings.size)
        _save(film.image, out / f"images/{image_id}.png")
        for name, mask in _masks(film, concepts).items():
            _save(mask, out / f"masks/{image_id}__{name}.png")
        for name, extent in film.extents.items():
            _save(extent, out / f"extents/{image_id}__{name}.png")
        if settings.structures:
            for name, structure in patient.structures.items():
                if name != "heart":  # the film's heart mask holds its enlargement too
                    _save(reduce_mask(structure, settings.size), out / f"masks/{image_id}__{name}.png")
        for k, other in enumerate(others):
            image = patient.render([found[c] for c in other], settings.mode, settings.size).image
            _save(image, out / f"counterfactuals/{image_id}__{k}.png")
        drawn |= {c: finding.params for c, finding in found.items()}
        films.append(
            {
                "image_id": image_id,
                "take": take,
                "concepts": concepts,
                "sides": film.sides,
                "cardiothoracic_ratio": film.cardiothoracic_ratio,
                "truth": {
                    f.concept: _truth(f, film) for f in (*(found[c] for c in concepts), *patient.incidentals)
                },
                "counterfactuals": others,
                "anatomy": patient.anatomy.as_dict(),
            }
        )
    record = {
        "patient_id": patient_id,
        **({"atlas": atlas} if settings.atlas_names != [BUILT_IN] else {}),
        "seed": first.seed,
        "index": index,
        "findings": {c: drawn[c] for c in vocabulary.ordered(drawn)},
        "incidentals": {f.concept: f.params for f in first.incidentals},
        "films": films,
    }
    with atomic(out / f"patients/{patient_id}.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1))


def _truth(finding: Finding, film: Film) -> dict[str, object]:
    mask, extent = film.masks[finding.concept], film.extents[finding.concept]
    return {
        **finding.amounts,
        "visible_fraction": float(mask.mean()),
        "extent_fraction": float(extent.mean()),
        "boxes": [box._asdict() for box in film.boxes[finding.concept]],
    }


def _other_sets(
    seed: int,
    rendering: int,
    concepts: list[str],
    settings: CohortSettings,
    vocabulary: Vocabulary,
    listed: frozenset[LabelPair],
) -> Iterator[list[str]]:
    """Concept sets of the counterfactuals, none equal to the film's own."""
    for k in range(settings.counterfactuals):
        if k == 0 and concepts:
            yield []
            continue
        rng, other = generator(seed, "counterfactual", rendering, k), concepts
        while other == concepts:
            other = draw_concepts(rng, vocabulary, settings.pairs, listed)
        yield other


def _masks(film: Film, concepts: list[str]) -> dict[str, np.ndarray]:
    masks = {**film.masks, "lung": film.lung_mask, "heart": film.heart_mask}
    if concepts:
        masks["findings"] = np.any([film.masks[c] for c in concepts], axis=0)
    return masks


def _save(image: np.ndarray, path: Path) -> None:
    write_png(image, path, Synthetic="YES", Simulated="YES")


def _records(names: Sequence[str] | None, cache_dir: Path | str | None) -> tuple[dict[str, str], ...]:
    chosen = set(atlases_at_hand(cache_dir) if names is None else names)
    if not chosen:
        raise InputError("atlases is empty; name at least one, or leave it out for all at hand.")
    return tuple(atlas_record(name, cache_dir) for name in sorted(chosen))


def _claim(out: Path, settings: CohortSettings) -> None:
    """Write the settings, or refuse a folder that holds a cohort with others."""
    path, wanted = out / "cohort.json", settings.as_json()
    if not path.is_file():
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1))
        return
    there = json.loads(path.read_text())
    for key in (*wanted, "atlases"):
        if there.get(key) != wanted.get(key):
            raise RunError(
                f"{path} has {key} = {there.get(key)}, not {wanted.get(key)}. Use the same settings or another folder."
            )


def _is_whole(out: Path, patient_id: str) -> bool:
    """A patient's record is written last; an image deleted since makes it again."""
    path = out / f"patients/{patient_id}.json"
    if not path.is_file():
        return False
    films = json.loads(path.read_text())["films"]
    return all((out / f"images/{film['image_id']}.png").is_file() for film in films)
