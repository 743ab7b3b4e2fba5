"""``synthorax evaluate fairness``, ``semantic`` and ``attribution``."""

from pathlib import Path
from typing import Annotated

import typer

from synthorax.cli.classifiers import Concepts, Device, Model, Names, Studies, names_of


def fairness(
    classifier: Model,
    studies: Studies,
    concepts: Concepts,
    out: Annotated[Path, typer.Option(help="Folder for groups.csv, gaps.csv, fairness.json and fairness.html.")],
    names: Names = None,
    least_patients: Annotated[
        int, typer.Option(min=1, help="Groups that rest on fewer patients are shown as too small.")
    ] = 20,
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap by patient.")] = 1000,
    permutations: Annotated[int, typer.Option(min=1, help="Of groups among patients: the null of each gap.")] = 200,
    seed: Annotated[int, typer.Option(help="Of bootstrap and permutations.")] = 0,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Metrics, underdiagnosis and gaps by sex, age, race, view, site and their crossings."""
    from synthorax.classifiers.fairness_page import fairness_on_studies

    found = fairness_on_studies(
        classifier, studies, concepts, out, names=names_of(names), least_patients=least_patients,
        n_resamples=resamples, n_permutations=permutations, seed=seed, device=device,
    )  # fmt: skip
    for gap in found.gaps.iter_rows(named=True):
        if gap["label"] in ("macro", "film") and " x " not in gap["axis"]:
            typer.echo(
                f"{gap['axis']:14} {gap['metric']:15} gap {gap['gap']:.3f} ({gap['ci_low']:.3f} to {gap['ci_high']:.3f}), "
                f"by chance {gap['null_mean']:.3f}, p {gap['p_value']:.3f}; worst {gap['worst_group']} {gap['worst']:.3f}"
            )
    small = found.groups["is_too_small"].sum()
    typer.echo(f"{small} of {found.groups.height} figures rest on too few patients; {out}/fairness.html")


def semantic(
    dataset: Annotated[Path, typer.Argument(help="A run, or a dataset's folder with metadata.parquet.", metavar="RUN_OR_DATASET")],
    reader: Annotated[str, typer.Option(help="Who reads: http://... of an OpenAI-compatible server that takes images; the folder of a transformers vision-language model; or a concept reader (a classifier's folder, an .onnx file, module:name); or 'examples': a vote of --examples alone, no model.")],
    out: Annotated[Path, typer.Option(help="Folder for semantic.parquet, semantic.csv and semantic.json.")],
    reader_model: Annotated[str | None, typer.Option(help="The model's name at the server.")] = None,
    allow_external_endpoint: Annotated[str | None, typer.Option(help="HOST: a server elsewhere that the data's use agreement allows to be sent films.", metavar="HOST")] = None,
    vocabulary: Annotated[str, typer.Option(help="That of the dataset's concepts: a shipped one or a YAML file.", metavar="V")] = "corpa",
    names: Names = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many films of the dataset, evenly over it.")] = None,
    examples: Annotated[Path | None, typer.Option(help="A studies.parquet with reports: films shown to the describer before each film, with their reports; never of the same patient.")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Examples a film.")] = 3,
    choice: Annotated[str, typer.Option(help="Which examples: similar or random.")] = "similar",
    order: Annotated[str, typer.Option(help="relevant-last, relevant-first or random.")] = "relevant-last",
    noisy: Annotated[bool, typer.Option("--noisy", help="One example of each film gets the report of another film.")] = False,
    seed: Annotated[int, typer.Option(help="Of the server's answers, what is drawn of the examples, and the bootstrap.")] = 0,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Concepts read back from films against those asked for, beside the reader's ceiling and floor."""
    import polars as pl

    from synthorax.classifiers import load_tested
    from synthorax.concepts import Vocabulary
    from synthorax.endpoint import Endpoint
    from synthorax.errors import InputError
    from synthorax.quality import describers, in_context
    from synthorax.quality import semantic as room
    from synthorax.studies import read_manifest

    words = Vocabulary.load(vocabulary)
    arms = room.arms_of(dataset, words, limit)
    answers = out / "reports.jsonl"
    shown = None
    if examples is not None:
        patients = arms["patient_id"].drop_nulls().unique().to_list()
        shown = in_context.read_examples(read_manifest(examples), patients, str(examples), k=shots, choice=choice, order=order, noisy=noisy, seed=seed)  # fmt: skip
    told = f" {examples} {shown.name()}" if shown else ""
    if reader.startswith(("http://", "https://")):
        if reader_model is None:
            raise InputError("--reader is a server; give its model's name by --reader-model.")
        describe = describers.by_endpoint(
            Endpoint(reader, reader_model, allow_external_endpoint), seed, shown
        )
        read = room.reader_of_text(describe, words, f"{reader} {reader_model} {seed}{told}", answers)
    elif reader == "examples":
        if shown is None:
            raise InputError("--reader examples votes among --examples; give a studies.parquet with reports.")
        read = room.reader_of_text(in_context.describe_by_examples(shown, words), words, reader)
    elif describers.is_pipeline(reader):
        describe = describers.by_pipeline(reader, device, examples=shown)
        read = room.reader_of_text(describe, words, f"{reader}{told}", answers)
    elif shown is not None:
        raise InputError(f"{reader} is a concept reader, which takes no examples; leave --examples out, or name a describer.")  # fmt: skip
    else:
        read = room.reader_of_model(load_tested(reader, names=names_of(names), device=device))
    films, summary = room.semantic_agreement(arms, read, words, seed=seed)
    room.write_semantic(films, summary, out, reader)
    for row in summary.filter(pl.col("perturbation_type") == "overall").iter_rows(named=True):
        if row["mean"] is not None:
            typer.echo(
                f"{row['arm']:26} {row['metric']:8} {row['mean']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f}), {row['n']} films, {row['n_empty_read_back']} read as empty"
            )
    typer.echo(f"{out}/semantic.csv")


def attribution(
    classifier: Annotated[str, typer.Argument(help="A folder of weights: a classifier's, or one of timm's.")],
    studies: Studies,
    concepts: Concepts,
    masks: Annotated[Path, typer.Option(help="Where each finding is: a Parquet table with image_id, finding and mask_file_name, a cohort's findings.parquet or the annotations.parquet of 'studies annotations'.")],
    out: Annotated[Path, typer.Option(help="Folder for attribution.csv and .json, films.parquet and maps.png.")],
    against: Annotated[str | None, typer.Option(help="Another classifier of the same outputs, e.g. after another pretraining, on the same films.")] = None,
    names: Names = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Share of Grad-CAM's mass inside the true mask: does a classifier look where the finding is."""
    from synthorax.quality.attribution import OVERALL, evaluate_attribution

    models = [classifier] if against is None else [classifier, against]
    table = evaluate_attribution(
        models, studies, concepts, masks, out, names=names_of(names), seed=seed, device=device
    )
    for row in table.filter(output=OVERALL).iter_rows(named=True):
        typer.echo(
            f"{row['model']}: {row['figure']:9} {row['value']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f}), {row['n_films']} films"
        )
    typer.echo(f"{out}/maps.png")
