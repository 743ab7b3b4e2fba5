"""What ``chexgen-small`` trains on, from nothing: virtual patients, a ControlNet, films with masks and films by prompt.

All of it is simulated, one anatomy. Real films' place is taken by virtual patients: *internal* ones (site ``patients.site``),
split by patient into train, validation and test, and *external* ones of another site, which are tested on alone. *Teachers*,
other patients still, teach the ControlNet. Synthetic films ask for what training patients have: the same findings, sides,
severities, sex, age and view, under other seeds; one set with the patients' masks, turned and moved, one by prompt alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.concepts import ConceptVector, Vocabulary, read_concepts, write_concepts
from synthorax.files import atomic
from synthorax.generation import film_prompt
from synthorax.perturbations.prompts import SEVERITIES
from synthorax.phantom import sample_cohort
from synthorax.phantom.findings import CONCEPTS
from synthorax.proof.downstream import SEVERITY_FILE
from synthorax.proof.recipe import Recipe
from synthorax.seeds import derive_seed
from synthorax.studies import read_manifest, write_manifest
from synthorax.studies.annotations import write_annotations

#: What counts as fluid, and the manifest's column of how much: the share of the side's lung volume, percent. A film with
#: one such finding has its exact share, one without has 0, one with several has NULL: what they share is not recorded.
FLUID = ("effusion", "fluid", "meniscus_sign", "costophrenic_angle")
FLUID_PERCENT = "fluid_percent"
DOMAIN = "Virtual patient."


def make_patients(recipe: Recipe, folder: Path) -> None:
    """``studies.parquet`` (with split, site and fluid), ``concepts.parquet``, ``annotations/``, and ``teachers/``."""
    asked, vocabulary = recipe.values("patients"), Vocabulary.load()
    n_train, n_validation, n_test = asked["n_train"], asked["n_validation"], asked["n_test"]
    sets = {
        "internal": (n_train + n_validation + n_test, asked["site"]),
        "external": (n_test, asked["external_site"]),
        "teachers": (asked["n_teachers"], asked["site"]),
    }
    manifests, tables = [], []
    for name, (n, site) in sets.items():
        cohort = sample_cohort(
            n, derive_seed("chexgen-small", asked["seed"], name) % 2**31, folder / name, site=site, pairs="any",
            renderings=asked["renderings"], atlases=["built-in"], workers=asked["workers"],
        )  # fmt: skip
        if name == "teachers":
            continue
        films = read_manifest(cohort / "studies.parquet")
        people = films["patient_id"].unique(maintain_order=True).to_list()
        splits = ["train"] * n_train + ["validation"] * n_validation + ["test"] * n_test
        split_of = dict(zip(people, splits, strict=True)) if name == "internal" else dict.fromkeys(people, "test")  # fmt: skip
        split = pl.Series("split", [split_of[patient] for patient in films["patient_id"]])
        fluid = fluid_percent(pl.read_parquet(cohort / "findings.parquet"), films["image_id"])
        manifests.append(films.with_columns(split, pl.lit(site).alias("site"), fluid))
        tables.append(read_concepts(cohort / "concepts.parquet")[0])
        write_annotations(cohort, "virtual-patients", folder / "annotations" / name, studies=cohort / "studies.parquet")  # fmt: skip
    write_concepts(pl.concat(tables), folder / "concepts.parquet", vocabulary)
    write_manifest(pl.concat(manifests), folder / "studies.parquet")


def fluid_percent(findings: pl.DataFrame, image_ids: pl.Series) -> pl.Series:
    """Of each film how much of a lung's volume is fluid, percent, see :data:`FLUID_PERCENT`."""
    known = findings.filter(pl.col("finding").is_in(FLUID)).group_by("image_id")
    of = {row["image_id"]: row for row in known.agg(pl.len(), pl.col("lung_fraction").first()).to_dicts()}
    values = [
        0.0 if name not in of else 100 * of[name]["lung_fraction"] if of[name]["len"] == 1 else None
        for name in image_ids
    ]
    return pl.Series(FLUID_PERCENT, values, dtype=pl.Float64)


def make_control(recipe: Recipe, folder: Path, device: str) -> Path:
    """The ControlNet's folder, taught by the teachers."""
    from synthorax.diffusion.recipes import read_recipe
    from synthorax.diffusion.train_control import ControlConfig, train_control

    asked = recipe.values("control")
    config = read_recipe(asked["recipe"], ControlConfig).model_copy(
        update={"steps": asked["steps"], "batch_size": asked["batch_size"], "preview_every": 0}
    )
    out = folder / "control"
    if not (out / "control" / "card.json").is_file():
        train_control(config, [folder / "teachers" / "studies.parquet"], out, device)
    return out / "control"


def make_films(recipe: Recipe, folder: Path, which: str, device: str) -> None:
    """``annotated`` (with masks, by the ControlNet) or ``prompted`` films, ``multiple`` times as many as training films."""
    from synthorax.runs.means import Means
    from synthorax.runs.plan_edits import generate_films

    asked = recipe.values("synthetic")
    films = read_manifest(folder / "studies.parquet").filter(split="train")
    multiple = asked[f"{which}_multiple"]
    rows, numbers = prompts_of(films, folder / "internal", which == "annotated", multiple, recipe.values("patients")["seed"])  # fmt: skip
    prompts = folder / f"{which}.parquet"
    with atomic(prompts) as temporary:
        rows.write_parquet(temporary)
    settings = {"guidance_scale": asked[f"{which}_guidance"], "num_inference_steps": asked["num_inference_steps"], "sampler": asked["sampler"]}  # fmt: skip
    control = folder / "control" / "control" if which == "annotated" else None
    done = generate_films(prompts, folder / which, settings, derive_seed(which) % 2**31, Means(device=device), control, control is not None)  # fmt: skip
    with atomic(done.metadata.parent / SEVERITY_FILE) as temporary:
        numbers.write_parquet(temporary)


def prompts_of(films: pl.DataFrame, cohort: Path, has_masks: bool, multiple: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """``multiple`` rows a training film, with what it shows; and ``study_id`` with the fluid that the row's words mean.

    That number is the mean of the training films of the same severity, since no prompt says a share of a lung.
    """
    vocabulary = Vocabulary.load()
    found = pl.read_parquet(cohort / "findings.parquet").filter(pl.col("finding").is_in([*CONCEPTS]))
    of: dict[str, list[dict[str, Any]]] = {}
    for row in found.iter_rows(named=True):
        of.setdefault(row["image_id"], []).append(row)
    meant = _fluid_by_word(films, of)
    order = sorted(films.to_dicts(), key=lambda film: derive_seed("asked", seed, film["image_id"]))
    rows: list[dict[str, Any]] = []
    numbers: list[tuple[str, float | None]] = []
    for number in range(multiple):
        for film in order:
            own = of.get(film["image_id"], [])
            concepts = vocabulary.ordered([row["finding"] for row in own]) or [vocabulary.unremarkable]
            severities = {row["finding"]: row["severity"] for row in own if row["severity"] in SEVERITIES}
            who = film_prompt(
                "synthorax", concepts, vocabulary, sides={row["finding"]: row["side"] for row in own},
                severities=severities, sex=film["sex"], age=film["age"], view=film["view_position"],
            )  # fmt: skip
            name = f"{film['image_id']}~{number}"
            rows.append({
                "prompt": f"{DOMAIN} {who}", "study_id": name, "patient_id": film["patient_id"],
                "concepts_after": concepts,
                "labels_after": [*vocabulary.true_labels(ConceptVector(frozenset(concepts)))],
            } | ({f"mask_{row['finding']}": str((cohort / row["mask_file_name"]).absolute()) for row in own if row["visible_fraction"] > 0} if has_masks else {}))  # fmt: skip
            fluids = [row for row in own if row["finding"] in FLUID]
            number_of = (
                0.0 if not fluids else meant.get(str(fluids[0]["severity"])) if len(fluids) == 1 else None
            )
            numbers.append((name, number_of))
    columns = ["prompt", "study_id", "patient_id", "concepts_after", "labels_after"]
    if has_masks:
        columns += [f"mask_{name}" for name in CONCEPTS]
    lists = {"concepts_after": pl.List(pl.String), "labels_after": pl.List(pl.String)}
    table = pl.DataFrame(
        [{name: row.get(name) for name in columns} for row in rows],
        schema={name: lists.get(name, pl.String) for name in columns},
    )
    return table, pl.DataFrame(numbers, schema={"study_id": pl.String, FLUID_PERCENT: pl.Float64}, orient="row")  # fmt: skip


def _fluid_by_word(films: pl.DataFrame, of: Mapping[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Severity -> the mean fluid of the films whose one fluid finding has it."""
    each: dict[str, list[float]] = {}
    for name, value in films.select("image_id", FLUID_PERCENT).drop_nulls().iter_rows():
        words = [row["severity"] for row in of.get(name, []) if row["finding"] in FLUID]
        if words:
            each.setdefault(str(words[0]), []).append(value)
    return {word: sum(values) / len(values) for word, values in each.items()}
