"""``synthorax edit`` and ``synthorax generate``: a plan's edits, and whole films from prompts."""

from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A diffusers pipeline folder or a repo id (owner/name@commit); default: the embedded model.",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(help="Strength of the prompt: 1 is none. Default of these three: the model's own."),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Denoising steps.")]
FreshNoise = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Share of the source's noise that is new inside the edit mask: more removes more."
    ),
]
Sampler = Annotated[str | None, typer.Option(help="ddim, ancestral, dpm-solver, dpm-solver-sde.")]
Out = Annotated[Path, typer.Option(help="Run folder; the same command over a killed run finishes it.")]
Device = Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto.")]
BatchSize = Annotated[
    str,
    typer.Option(
        help="Images (edits: rows) of a network call, or auto (8); halved where the memory does not suffice."
    ),
]
ShardOption = Annotated[
    str, typer.Option("--shard", help="I/N: every N-th image from the I-th; 'runs merge' joins them.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="auto, local or a Ray cluster's HOST:PORT: a replica of the model on each of its GPUs (--device cuda) or "
        "groups of cores.",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many images.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the hub: local models only.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say rows, evaluations, hours and disk; make nothing.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any row was refused.")]


def edit(
    plan: Annotated[Path, typer.Argument(help="plan.parquet from 'synthorax perturb'.")],
    studies: Annotated[Path, typer.Option(help="The manifest of the plan's films.")],
    out: Out,
    model: Model = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Strength of the prompt. Default of these three: the model's own.")
    ] = None,
    num_inference_steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.")] = None,
    skip: Annotated[
        float | None,
        typer.Option(min=0, max=0.99, help="Fraction of the noisiest steps left out: more keeps more."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="radedit, diffedit, ddpm-inversion, ddim-inversion, lance, or sdedit.")
    ] = "radedit",
    preset: Annotated[
        str, typer.Option(help="exact, balanced (10 steps at most), or fast (12 evaluations).")
    ] = "exact",
    masks: Annotated[
        str, typer.Option(help="none, finding (from finding and side), or file (columns of the plan).")
    ] = "none",
    outside: Annotated[
        str, typer.Option(help="free, or exact: nothing changes outside the edit mask and its seam.")
    ] = "free",
    fresh_noise: FreshNoise = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="A classifier that must find the labels asked for and no other; 'anatomy': lungs and heart of a virtual patient stay; "
            "repeat for more."
        ),
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="With --judge: tries a film, each from a new seed.")] = 4,
    sham: Annotated[
        bool,
        typer.Option("--sham", help="The plan's controls: the same walks, the source's findings asked for."),
    ] = False,
    device: Device = "cpu",
    dtype: Dtype = "auto",
    batch_size: BatchSize = "auto",
    shard: ShardOption = "1/1",
    ray: Ray = None,
    limit: Limit = None,
    offline: Offline = False,
    dry_run: DryRun = False,
    strict: Strict = False,
) -> None:
    """Make a plan's edits: OUT/synthetic with its metadata.parquet.

    With --judge edits that do not show what was asked are made again; OUT/judged.json says how many pass, and what remains.
    """
    from synthorax.editing.methods import method_named, preset_named
    from synthorax.runs.plan_edits import edit_plan, read_plan

    method_named(method), preset_named(preset)
    given = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "skip": skip, "fresh_noise": fresh_noise}  # fmt: skip
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    changed |= {"method": method, "preset": preset, "outside": outside}
    means = means_of(model, device, dtype, batch_size, shard, limit, offline, ray)
    if dry_run:
        from synthorax.runs.estimate import estimate_edits
        from synthorax.runs.making import EditSettings
        from synthorax.runs.own_films import SIZE

        rows, loaded = len(means.shard.of(read_plan(plan, limit)["edit_id"])), means.load_model()
        rows *= budget if judge else 1  # at most
        settings = EditSettings(**{**loaded.edit_settings, **changed})
        typer.echo(estimate_edits(rows, loaded, settings, means.batch_size, SIZE))
        return
    _tell(edit_plan(plan, studies, out, changed, means, masks, sham, judge or (), budget), strict)


def generate(
    prompts: Annotated[
        Path,
        typer.Argument(
            help="A text file with a prompt a line, a table with a column 'prompt', or with --control a COCO file."
        ),
    ],
    out: Out,
    model: Model = None,
    control: Annotated[
        Path | None,
        typer.Option(
            help="A diffusers ControlNet folder of that model: films follow the file's columns mask_<class>, boxes or "
            "annotation, or the COCO file."
        ),
    ] = None,
    vary: Annotated[
        bool,
        typer.Option("--vary", help="Turn, scale and move each annotation a little, by the film's seed."),
    ] = False,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="A classifier (folder, xrv:NAME, .onnx, module:name) that must read what the table asks for: its outputs sex:F, "
            "age_group:19-40, view_position:PA, race:White against sex, age, view_position, race, all others against "
            "labels_after; repeat for more."
        ),
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="With --judge: tries a film, each from a new seed.")] = 4,
    domain: Annotated[
        str | None,
        typer.Option(help="real or simulated: the model's word for that kind of film before each prompt."),
    ] = None,
    guidance_scale: Guidance = None,
    num_inference_steps: Steps = None,
    sampler: Sampler = None,
    seed: Annotated[int, typer.Option(help="Seed of the films.")] = 0,
    device: Device = "cpu",
    dtype: Dtype = "auto",
    batch_size: BatchSize = "auto",
    shard: ShardOption = "1/1",
    ray: Ray = None,
    limit: Limit = None,
    offline: Offline = False,
    dry_run: DryRun = False,
    strict: Strict = False,
) -> None:
    """Make whole films from prompts, masks and boxes: OUT/synthetic with its metadata.parquet, and coco.json with --control.

    With --judge films that do not show what was asked are made again; OUT/judged.json says by group how many pass, and
    which remain.
    """
    from synthorax.runs.plan_edits import generate_films, read_prompts

    given = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "sampler": sampler}
    given = {name: value for name, value in given.items() if value is not None}
    means = means_of(model, device, dtype, batch_size, shard, limit, offline, ray)
    if dry_run:
        from synthorax.runs.estimate import estimate_films
        from synthorax.runs.making import FilmSettings

        rows, loaded = len(means.shard.of(read_prompts(prompts, limit))), means.load_model()
        rows *= budget if judge else 1  # at most
        settings = FilmSettings(**{**loaded.sample_settings, **given})
        if control is not None:
            import numpy as np

            from synthorax.diffusion.control import with_control

            blank = np.zeros((means.batch_size, loaded.image_size, loaded.image_size, 3), np.uint8)
            loaded = with_control(loaded, control).annotated(blank)
        typer.echo(estimate_films(rows, loaded, settings, means.batch_size))
        return
    _tell(
        generate_films(prompts, out, given, seed, means, control, vary, judge or (), budget, domain), strict
    )


def means_of(
    model: str | None,
    device: str,
    dtype: str,
    batch_size: str,
    shard: str,
    limit: int | None,
    offline: bool,
    ray: str | None,
):
    """The options of commands that make images, checked."""
    from synthorax.errors import InputError
    from synthorax.runs.items import BATCH, Shard
    from synthorax.runs.means import Means

    if batch_size != "auto" and not (batch_size.isdecimal() and int(batch_size) > 0):
        raise InputError(f"--batch-size is {batch_size!r}; expected auto, or a number from 1 up.")
    size = BATCH if batch_size == "auto" else int(batch_size)
    return Means(model, device, dtype, size, Shard.parse(shard), limit, offline, ray)


def _tell(done, strict: bool) -> None:
    typer.echo(done.metadata)
    typer.echo(done.summary)
    if strict and done.n_refused:
        raise typer.Exit(1)
