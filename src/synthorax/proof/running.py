"""A recipe from films to tables: read, train, measure, print; killed and started again, it goes on."""

import time
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

import polars as pl

from synthorax.classifiers.head import HeadConfig
from synthorax.errors import InputError
from synthorax.files import atomic, sha256_of
from synthorax.proof import cars, downstream
from synthorax.proof.cohort import Cohort, FilmSets, read_cohort
from synthorax.proof.figures import measure, tables_of
from synthorax.proof.grid import run_grid
from synthorax.proof.page import comparison_table, coverage_table, estimate_table, write_page
from synthorax.proof.recipe import Recipe
from synthorax.proof.tables import Table
from synthorax.proof.tiny import tiny_inputs
from synthorax.proof.trainings import PROTOCOLS
from synthorax.runs.demo import provenance
from synthorax.runs.estimate import Estimate, estimate_classifier
from synthorax.runs.folder import RunFolder


def run_recipe(
    recipe: Recipe,
    out: Path | str,
    *,
    studies: Path | None = None,
    concepts: Path | None = None,
    annotations: Sequence[Path] = (),
    synthetic: Sequence[str] = (),
    reader: Path | None = None,
    device: str = "cpu",
    command: str = "",
) -> Path:
    """Run a protocol's whole grid and write its tables; the same call over a killed run finishes it.

    Args:
        recipe: with the values to be used, see :meth:`~.recipe.Recipe.at_scale` and ``with_values``.
        out: run folder: ``cells/``, ``tables/`` (CSV and LaTeX), ``tables.html``.
        studies, concepts, synthetic: as in :func:`~.cohort.read_cohort`; without studies a few virtual patients and
            edits are made in ``out/inputs``.
        annotations: of segmentation and detection, instead of concepts: folders of ``studies annotations``.
        reader: a classifier of concepts for table 4; else one is trained.
        device: torch device.
        command: what was typed, for the page.

    Returns:
        ``tables.html``.

    Raises:
        InputError: the inputs do not fit each other or the protocol.
        RunError: ``out`` holds another run, or one in use.
    """
    began = time.time()
    task = downstream.TASKS.get(recipe.protocol)
    if task is not None:
        inputs = _task_checksums(recipe, studies, annotations, synthetic)
        assert studies is not None, "checked with the inputs"
        annotated = downstream.read_annotated_films(recipe, studies, annotations, synthetic)
    else:
        inputs = _checksums(studies, concepts, synthetic, reader)
    values = {f"{section}.{key}": value.value for section, key, value in recipe.rows()}
    run = RunFolder.open(out, {"kind": "protocol", "recipe": recipe.name, **values, **inputs})
    try:
        tables: list[Table] = []
        n_resamples = recipe.values("measuring")["n_resamples"]
        sets: FilmSets
        if task is not None:
            sets = annotated
            measured = downstream.run_task(recipe, annotated, run.path, device)
            estimates, differences, comparisons = tables_of(measured, task.figures)
        else:
            sets = cohort = _cohort(recipe, run.path, studies, concepts, synthetic)
            grid = recipe.values("grid")
            cells = list(
                run_grid(
                    lambda backbone, seed: PROTOCOLS[recipe.protocol](recipe, cohort, backbone, seed),
                    grid["backbones"], grid["seeds"], run.path, keep_weights=grid["keep_weights"], device=device,
                )
            )  # fmt: skip
            estimates, differences, comparisons = measure(cells, cohort.real.labels, n_resamples)
            if recipe.protocol == "cars-paper":
                tables = _cars_tables(recipe, cohort, run.path, estimates, comparisons, reader, device)
            tables.append(coverage_table(cohort))
        tables += [estimate_table(estimates), comparison_table(comparisons)]
        folder = run.path / "tables"
        for table in tables:
            table.write(folder)
        for name, frame in (
            ("estimates", estimates),
            ("differences", differences),
            ("comparisons", comparisons),
        ):
            with atomic(folder / f"{name}.csv") as temporary:
                _flat(frame).write_csv(temporary)
        seed = min(recipe.values("grid")["seeds"])
        said = provenance(command, seed, time.time() - began).model_dump(exclude={"seed"})
        return write_page(
            run.path, recipe, sets, tables, comparisons, differences, {**said, **inputs}, n_resamples
        )
    finally:
        run.close()


def estimate_recipe(
    recipe: Recipe, studies: Path, concepts: Path, synthetic: Sequence[str], device: str
) -> Estimate:
    """Of the trainings of whole networks; last layers, predictions and tables come on top."""
    cohort = _cohort(recipe, Path(), studies, concepts, synthetic)
    grid = recipe.values("grid")
    parts = []
    for backbone in grid["backbones"]:
        for training in PROTOCOLS[recipe.protocol](recipe, cohort, backbone, grid["seeds"][0]):
            if not isinstance(training.config, HeadConfig):
                one = estimate_classifier(
                    training.config, len(training.films), len(cohort.real.labels), device
                )
                parts += [one] * len(grid["seeds"])
    return reduce(add, parts)


def _cohort(recipe: Recipe, out: Path, studies: Path | None, concepts: Path | None, synthetic: Sequence[str]) -> Cohort:  # fmt: skip
    if studies is None or concepts is None:
        studies, concepts, synthetic = tiny_inputs(out / "inputs")
    films = recipe.values("films")
    cohort = read_cohort(
        studies, concepts, synthetic, normal_ratio=films["normal_ratio"], site_column=films.get("site_column"),
        external_sites=films.get("external_sites"),
    )  # fmt: skip
    if not cohort.arms:
        raise InputError(
            f"{recipe.name} compares synthetic films; give their dataset folders by --synthetic FOLDER."
        )
    return cohort


def _checksums(studies: Path | None, concepts: Path | None, synthetic: Sequence[str], reader: Path | None) -> dict[str, str]:  # fmt: skip
    """What identifies the inputs."""
    if studies is None and concepts is None and not synthetic:
        return {"inputs": "virtual patients made here, simulated, one anatomy"}
    if studies is None or concepts is None:
        raise InputError(
            "--studies, --concepts and --synthetic belong together; give all three, or none at --scale tiny."
        )
    files = {"studies": studies, "concepts": concepts}
    files |= {f"synthetic {word}": Path(word.rpartition("=")[2]) / "metadata.parquet" for word in synthetic}
    if reader is not None:
        files["reader"] = reader / "classifier.json"
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path} does not exist; see 'synthorax recipes run --help'.")
    return {f"sha256 of {name}": sha256_of(path) for name, path in files.items()}


def _task_checksums(recipe: Recipe, studies: Path | None, annotations: Sequence[Path], synthetic: Sequence[str]) -> dict[str, str]:  # fmt: skip
    """The same of a task that is no classification."""
    wants_marks = recipe.protocol != "severity"
    if studies is None or not synthetic or bool(annotations) != wants_marks:
        told = "--studies, --annotations and --synthetic" if wants_marks else "--studies and --synthetic, no --annotations"  # fmt: skip
        raise InputError(f"{recipe.name} needs {told}; 'recipes run chexgen-small' makes its own.")
    files = {"studies": studies} | {f"annotations {folder}": folder / "annotations.parquet" for folder in annotations}  # fmt: skip
    own = "annotations.parquet" if wants_marks else downstream.SEVERITY_FILE
    for word in synthetic:
        for name in ("metadata.parquet", own):
            files[f"{name} of {word}"] = Path(word.rpartition("=")[2]) / name
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path} does not exist; see 'synthorax recipes run --help'.")
    return {f"sha256 of {name}": sha256_of(path) for name, path in files.items()}


def _cars_tables(recipe: Recipe, cohort: Cohort, folder: Path, estimates: pl.DataFrame, comparisons: pl.DataFrame, reader: Path | None, device: str) -> list[Table]:  # fmt: skip
    made = {}
    for name, make in (
        ("structure", lambda: cars.structure_of_arms(cohort)),
        ("read_back", lambda: cars.agreement_of_arms(cohort, recipe, folder, reader, device)),
    ):
        path = folder / f"{name}.parquet"
        made[name] = pl.read_parquet(path) if path.is_file() else cars.kept(path, make())
    judge = (
        "the given reader"
        if reader
        else f"a concept classifier ({recipe.values('reader')['backbone']}) of other real films"
    )
    return [
        *cars.tables_1_and_2(estimates, comparisons, recipe.values("grid")["backbones"]),
        cars.table_3(made["structure"]),
        cars.table_4(made["read_back"], judge),
    ]


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists as text, for CSV."""
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    return frame.with_columns(
        pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(" ") for name in lists
    )
