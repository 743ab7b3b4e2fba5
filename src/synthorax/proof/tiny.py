"""Inputs for the scale that tests run: a few virtual patients of two sites, a few edits and whole films of them."""

from pathlib import Path

import polars as pl

from synthorax.concepts import Vocabulary, annotate_studies, write_concepts
from synthorax.files import atomic
from synthorax.perturbations import make_plan
from synthorax.phantom import sample_cohort
from synthorax.runs.plan_edits import edit_plan, generate_films
from synthorax.studies import read_manifest, write_manifest

SITES = ("public", "mixed")
#: Half of a site's patients train; the others are halved into validation and test.
N_PATIENTS = 16
SIZE = 256
#: Of training patients, and of others, which must be left out.
N_FILMS, N_FORBIDDEN = 36, 4
SETTINGS = {"guidance_scale": 3.0, "num_inference_steps": 3}


def tiny_inputs(folder: Path) -> tuple[Path, Path, list[str]]:
    """Make them, or go on with those that are there; everything is simulated, one anatomy.

    Returns:
        Manifest (with ``split`` and ``site``), concept table, and two dataset folders: CARS's edits, CoRPA's films.
    """
    manifests = []
    for number, site in enumerate(SITES):
        cohort = sample_cohort(
            N_PATIENTS, number, folder / site, size=SIZE, site=site, atlases=["built-in"], workers=1
        )
        films = read_manifest(cohort / "studies.parquet")
        patients = films["patient_id"].unique(maintain_order=True)
        splits = ["train"] * (N_PATIENTS // 2) + ["validation", "test"] * (N_PATIENTS // 4)
        split_of = dict(zip(patients, splits, strict=True))
        split = pl.Series("split", [split_of[patient] for patient in films["patient_id"]])
        manifests.append(films.with_columns(split, pl.lit(site).alias("site")))
    films = pl.concat(manifests)
    vocabulary = Vocabulary.load()
    studies, concepts = write_manifest(films, folder / "studies.parquet"), folder / "concepts.parquet"
    table = annotate_studies(films, vocabulary)
    write_concepts(table, concepts, vocabulary)
    is_train = pl.col("image_id").is_in(films.filter(split="train")["image_id"].to_list())
    made = []
    for arm, types in (
        ("cars", ("intra_class", "insertion", "deletion")),
        ("corpa", ("intra_class", "outer_class")),
    ):
        edits = [
            make_plan(table.filter(where), vocabulary, types, budget=budget).edits
            for where, budget in ((is_train, N_FILMS), (~is_train, N_FORBIDDEN))
        ]
        with atomic(folder / f"{arm}.parquet") as temporary:
            pl.concat(edits).write_parquet(temporary)
        if arm == "cars":
            done = edit_plan(folder / "cars.parquet", studies, folder / arm, {**SETTINGS, "skip": 0.3})
        else:
            done = generate_films(folder / "corpa.parquet", folder / arm, SETTINGS)
        made.append(str(done.metadata.parent))
    return studies, concepts, made
