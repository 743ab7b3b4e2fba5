"""``synthorax train``: models from films, by recipe; the same command goes on where it was stopped."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Train a model; the same command resumes.")

Config = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped recipe.")]
FilmsOption = Annotated[
    list[Path], typer.Option("--films", help="A studies.parquet (virtual or real); repeat for more.")
]
Out = Annotated[Path, typer.Option(help="Run folder: checkpoint, log, result.")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say films, evaluations, hours and disk; train nothing.")
]


@app.command()
def autoencoder(
    config: Config, films: FilmsOption, out: Out, device: Device = "auto", dry_run: DryRun = False
) -> None:
    """Train the autoencoder; the result is OUT/vae."""
    from synthorax.diffusion.recipes import read_recipe
    from synthorax.diffusion.train_autoencoder import AutoencoderConfig, train_autoencoder, trial_step

    settings = read_recipe(config, AutoencoderConfig)
    if dry_run:
        _say_estimate(settings, films, *trial_step(settings, device), settings.steps)
        return
    _say_once(train_autoencoder(settings, films, out, device))


@app.command()
def diffusion(
    config: Config,
    films: FilmsOption,
    out: Out,
    vae: Annotated[Path | None, typer.Option(help="The autoencoder's vae folder, for new networks.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Go on from this pipeline folder or repo id instead (fine-tuning).")
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="A published text encoder's folder, for new networks: BioViL-T, or T5 for a transformer."
        ),
    ] = None,
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Train a diffusion model, or fine-tune a published one on one's own films; the result is OUT/pipeline."""
    from synthorax.diffusion.recipes import read_recipe
    from synthorax.diffusion.train_diffusion import DiffusionConfig, train_diffusion, trial_step

    asked = read_recipe(config, DiffusionConfig)
    if start is not None:
        asked = asked.model_copy(update={"start": start})
    if dry_run:
        _say_estimate(asked, films, *trial_step(asked, vae, device, text), asked.steps * asked.accumulate)
        return
    _say_once(train_diffusion(asked, films, out, vae, device, text))


@app.command()
def segmenter(
    films: Annotated[Path, typer.Argument(help="A studies.parquet with --annotations or --mask; or, for lungs, CSV or Parquet: file_name, patient_id, left_lung_mask_file_name, right_lung_mask_file_name.")],
    out: Annotated[Path, typer.Option(help="Folder of the segmenter; the same command goes on with a stopped training.")],
    annotations: Annotated[Path | None, typer.Option(help="The films' masks: a folder made by 'studies annotations'.")] = None,
    label: Annotated[str | None, typer.Option(help="With --annotations: whose masks; several labels between commas count as one.")] = None,
    mask: Annotated[str | None, typer.Option(help="FILMS is a cohort's of 'phantom sample', and this one of its masks: lung, heart, a finding; with its --structures ribs, aorta ...")] = None,
    split: Annotated[str | None, typer.Option(help="With --annotations or --mask: films of this split of the manifest alone.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Of segmentation-models-pytorch, e.g. resnet34 (needs synthorax[segment]); default: a small U-Net.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the films.")] = 10,
    size: Annotated[int, typer.Option(help="Side of the network's input, px.")] = 96,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    device: Annotated[str, typer.Option(help="torch device: cpu, cuda.")] = "cpu",
) -> None:  # fmt: skip
    """Train a U-Net that finds lungs ('stress population'), a pneumothorax, or whatever masks show."""
    from synthorax.downstream import SegmenterConfig, train_segmenter
    from synthorax.errors import InputError

    if (annotations is None) != (label is None) or (mask is not None and annotations is not None):
        raise InputError("--annotations and --label belong together, without --mask.")
    if split is not None and annotations is None and mask is None:
        raise InputError("--split is for --annotations or --mask.")
    config = SegmenterConfig(image_size_px=size, encoder=encoder, epochs=epochs, seed=seed)
    if annotations is None and mask is None:
        from synthorax.stress import read_lungs
        from synthorax.stress.population import lungs_of

        table = read_lungs(films)
        masks = [lungs_of(row) for row in table.iter_rows(named=True)]
    else:
        from synthorax.downstream.annotated import read_marks_of
        from synthorax.phantom import cohort_masks
        from synthorax.studies import read_manifest

        table = read_manifest(films)
        table = table if split is None else table.filter(split=split)
        if annotations is not None and label is not None:
            marks = read_marks_of([annotations], {label: [one.strip() for one in label.split(",")]})
            table = table.filter(table["image_id"].is_in([*marks.rows]))
            masks = [*marks.masks(table["image_id"].to_list(), label, size)]
        else:
            masks = cohort_masks(films, table["image_id"].to_list(), str(mask))
    paths = table["file_name"].to_list()
    found = train_segmenter(config, paths, masks, out=out, device=device)
    typer.echo(f"{out}: {table.height} films, loss {found.record['loss_per_epoch'][-1]:.3f}")


@app.command()
def control(
    config: Config,
    films: FilmsOption,
    out: Out,
    start: Annotated[
        str | None,
        typer.Option(help="The model to steer: a pipeline folder or repo id; default: the recipe's."),
    ] = None,
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Train a ControlNet for masks and boxes on a frozen model, from virtual patients; the result is OUT/control."""
    from synthorax.diffusion.recipes import read_recipe
    from synthorax.diffusion.train_control import ControlConfig, train_control, trial_step

    asked = read_recipe(config, ControlConfig)
    if start is not None:
        asked = asked.model_copy(update={"start": start})
    if dry_run:
        _say_estimate(asked, films, *trial_step(asked, device), asked.steps * asked.accumulate)
        return
    _say_once(train_control(asked, films, out, device))


@app.command()
def alignment(
    config: Config,
    pairs: Annotated[Path, typer.Option(help="Pairs of films: pairs.parquet of `synthorax rank`.")],
    out: Out,
    start: Annotated[
        str | None, typer.Option(help="Align this pipeline folder or repo id; default: the embedded model.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Strength: larger stays nearer to the start. Else the config's.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Teach a diffusion model what is preferred (DPO, IPO, KTO on pairs of films); the result is OUT/pipeline."""
    from synthorax.diffusion.recipes import read_recipe
    from synthorax.diffusion.train_alignment import AlignmentConfig, train_alignment

    asked = read_recipe(config, AlignmentConfig)
    given = {"start": start, "beta": beta}
    asked = AlignmentConfig(**asked.model_dump() | {k: v for k, v in given.items() if v is not None})
    _say_once(train_alignment(asked, pairs, out, device))


def _say_once(answer: object) -> None:
    """The first of several processes speaks for all; then they part."""
    from accelerate import PartialState

    processes = PartialState()
    if processes.is_main_process:
        typer.echo(answer)
    processes.destroy_process_group()


def _say_estimate(settings, films: list[Path], step, n_weights: int, n_batches: int) -> None:
    """On disk: films and latents, less than two bytes a pixel; weights, their average and AdamW's two moments, twice while they are replaced; the result."""
    from synthorax.diffusion.films import n_cached
    from synthorax.runs.estimate import estimate_training

    n = n_cached(films, settings.films)
    disk = 2 * n * settings.films.size**2 + 34 * n_weights
    _say_once(estimate_training(step, n_batches, settings.batch_size, n, disk))
