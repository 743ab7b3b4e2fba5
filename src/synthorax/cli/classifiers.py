"""``synthorax train classifier`` and ``synthorax evaluate classifier``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Measure a model, with intervals by patient.")

Studies = Annotated[Path, typer.Option(help="The films: a studies.parquet.")]
Concepts = Annotated[Path, typer.Option(help="Their labels: the concepts.parquet of the same studies.")]
MaybeConcepts = Annotated[
    Path | None,
    typer.Option(
        "--concepts", help="Their labels: the concepts.parquet of the same studies; groups need none."
    ),
]
Device = Annotated[str, typer.Option(help="torch device: cpu, cuda, cuda:1, mps.")]
Model = Annotated[
    str,
    typer.Argument(
        help="A classifier's folder, a folder of timm's, xrv:NAME of TorchXRayVision (opens its pickle), an .onnx file, or "
        "module:name, a callable from films (N, H, W) in [0, 1] to probabilities (that runs your code)."
    ),
]
Names = Annotated[
    str | None, typer.Option(help="Names of the model's outputs by commas, in order; default its own.")
]


@app.callback()
def evaluate() -> None:
    """Measure a model, with intervals by patient."""


def train_classifier(
    config: Annotated[Path, typer.Argument(help="YAML with what differs from the defaults; may be empty.")],
    studies: Studies,
    out: Annotated[Path, typer.Option(help="Folder of the classifier; the same command resumes there.")],
    concepts: MaybeConcepts = None,
    outputs: Annotated[
        str,
        typer.Option(
            help="What it reads from films: labels, concepts, or groups (the manifest's sex, age group, view)."
        ),
    ] = "labels",
    start: Annotated[
        Path | None, typer.Option(help="Go on from this classifier's weights instead (fine-tuning).")
    ] = None,
    input: Annotated[
        str, typer.Option(help="pixels, or latents: of an autoencoder, stored once and read from there.")
    ] = "pixels",
    autoencoder: Annotated[
        str,
        typer.Option(
            help="With latents: embedded, or a folder in diffusers' layout (its own, or a pipeline's)."
        ),
    ] = "embedded",
    latents: Annotated[
        Path | None, typer.Option(help="Store of the latents; default 'latents' beside the studies.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and order; else the config's.")] = None,
    device: Device = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say films, evaluations, hours and disk; train nothing.")
    ] = False,
) -> None:
    """Train a classifier on the split 'train' and fit its thresholds on 'validation'."""
    import yaml

    from synthorax.classifiers.on_studies import train_on_studies
    from synthorax.classifiers.training import TrainingConfig
    from synthorax.errors import InputError, unknown_choice

    if not config.is_file():
        raise InputError(f"{config} does not exist; expected a YAML file with training settings.")
    try:
        values = yaml.safe_load(config.read_text()) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{config} is not YAML: {error}. Correct the line.") from error
    if not isinstance(values, dict):
        raise InputError(f"{config} holds no settings; expected lines such as 'epochs: 10'.")
    if input not in ("pixels", "latents"):
        raise unknown_choice("input", input, ("pixels", "latents"))
    encoder = None
    if input == "latents":
        from synthorax.classifiers.latents import open_autoencoder

        encoder, values = open_autoencoder(autoencoder, device), {"backbone": "latent"} | values
    settings = TrainingConfig.from_mapping(values | ({} if seed is None else {"seed": seed}))
    if dry_run:
        from synthorax.classifiers.examples import read_examples
        from synthorax.runs.estimate import estimate_classifier

        examples = read_examples(studies, concepts, outputs).split("train")
        typer.echo(estimate_classifier(settings, len(examples), len(examples.labels), device, encoder))
        return
    found = train_on_studies(settings, studies, concepts, out, outputs=outputs, start=start, device=device, autoencoder=encoder, store=latents)  # fmt: skip
    value = found.record.training.get("validation_macro_auroc")
    typer.echo(f"{out}: {len(found.labels)} outputs, validation macro AUROC {_figure(value)}")


@app.command("classifier")
def evaluate_classifier(
    classifier: Model,
    studies: Studies,
    out: Annotated[Path, typer.Option(help="Folder for predictions, metrics and reliability diagrams.")],
    concepts: MaybeConcepts = None,
    against: Annotated[
        str | None, typer.Option(help="Another model of the same labels, compared on the same films.")
    ] = None,
    names: Names = None,
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Fit a temperature on validation films; before and after.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    device: Device = "cpu",
) -> None:
    """AUROC, AUPRC, F1, entropy, calibration and sensitivity on patients that the classifier has not seen."""
    from synthorax.classifiers.on_studies import evaluate_on_studies

    table = evaluate_on_studies(
        classifier, studies, concepts, out, against=against, names=names_of(names), temperature=temperature, seed=seed, device=device
    )  # fmt: skip
    for row in table.iter_rows(named=True):
        if row["label"] == "macro":
            interval = f"{_figure(row['ci_low'])} to {_figure(row['ci_high'])}"
            typer.echo(f"{row['metric']:40} {_figure(row['estimate'])} ({interval})")
    typer.echo(f"{table['n_images'][0]} films of {table['n_patients'][0]} patients; tables in {out}")


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def names_of(text: str | None) -> list[str] | None:
    """Names by commas."""
    return None if text is None else [name.strip() for name in text.split(",")]
