"""``synthorax stress``: how far a model falls on shifted films, with controls."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthorax.cli.classifiers import Model, Names, names_of
from synthorax.cli.making import FreshNoise

if TYPE_CHECKING:
    from synthorax.stress import Shift
    from synthorax.stress.stressed import Score

app = typer.Typer(no_args_is_help=True, help="Prove where a model breaks: shifted test sets, with controls.")

Films = Annotated[
    Path,
    typer.Option(
        help="CSV or Parquet: file_name, patient_id, target; edit_mask_file_name, keep_mask_file_name, caption, role, "
        "image_id where they apply."
    ),
]
Out = Annotated[
    Path, typer.Option(help="Folder of edits, results and page; the same command finishes a stopped one.")
]
Output = Annotated[
    str | None, typer.Option(help="Which of the model's outputs: its label, or its number from 0.")
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Probability from which the finding is seen; default the model's own, else 0.5."),
]
Robust = Annotated[
    str | None, typer.Option(help="A model known not to use what is shifted; no verdict without one.")
]
RobustOutput = Annotated[str | None, typer.Option(help="Its output; default as --output.")]
RobustThreshold = Annotated[float | None, typer.Option(help="Its threshold; default its own, else 0.5.")]
Editor = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The editor: a pipeline folder or a repo id (owner/name@commit); default: the embedded one.",
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(help="What the edits show; default RadEdit's words, for the embedded model 'No findings.'"),
]
Guidance = Annotated[
    float | None, typer.Option(help="15 in RadEdit's paper. Default of these three: the model's own.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Denoising steps.")]
Skip = Annotated[float | None, typer.Option(min=0, max=0.99, help="Fraction of the noisiest steps left out.")]
Method = Annotated[
    str, typer.Option(help="radedit, diffedit, ddpm-inversion, ddim-inversion, lance, sdedit.")
]
PresetOption = Annotated[str, typer.Option("--preset", help="exact, balanced or fast.")]
ScoreOption = Annotated[
    str | None,
    typer.Option(
        "--score",
        help="'shipped' (virtual patients alone), a folder of 'train image-text' or BioViL-T's as published, or module:name, a callable (sources, edits, texts before, texts after) -> scores (that runs your code).",
    ),
]
LeastScore = Annotated[float, typer.Option(help="Edits below are left out; 0.2 in RadEdit.")]
Simulated = Annotated[bool, typer.Option("--simulated", help="The films are virtual patients'.")]
Seed = Annotated[int, typer.Option(help="Of the edits and of the bootstrap.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Edit at most so many films.")]
Device = Annotated[str, typer.Option(help="torch device of editor and classifiers.")]


@app.command()
def acquisition(
    tested: Model, films: Films, out: Out, output: Output = None, threshold: Threshold = None,
    robust: Robust = None, robust_output: RobustOutput = None, robust_threshold: RobustThreshold = None,
    model: Editor = None, prompt: Prompt = None, guidance_scale: Guidance = None, num_inference_steps: Steps = None, skip: Skip = None,
    fresh_noise: FreshNoise = None, method: Method = "radedit", preset: PresetOption = "exact", score: ScoreOption = None, least_score: LeastScore = 0.2,
    simulated: Simulated = False, seed: Seed = 0, limit: Limit = None, device: Device = "cpu",
) -> None:  # fmt: skip
    """A model that learned the hospital: findings go, all outside their boxes stays (RadEdit, section 5.2)."""
    _test("acquisition", None, **locals())


@app.command()
def manifestation(
    tested: Model, films: Films, out: Out, output: Output = None, threshold: Threshold = None,
    robust: Robust = None, robust_output: RobustOutput = None, robust_threshold: RobustThreshold = None,
    model: Editor = None, prompt: Prompt = None, guidance_scale: Guidance = None, num_inference_steps: Steps = None, skip: Skip = None,
    fresh_noise: FreshNoise = None, method: Method = "radedit", preset: PresetOption = "exact", score: ScoreOption = None, least_score: LeastScore = 0.2,
    simulated: Simulated = False, seed: Seed = 0, limit: Limit = None, device: Device = "cpu",
) -> None:  # fmt: skip
    """A model that learned the drain: pneumothoraces go, the drain in the keep mask stays (RadEdit, section 5.3)."""
    _test("manifestation", None, **locals())


@app.command()
def custom(
    tested: Model, films: Films, out: Out,
    prompt: Annotated[str, typer.Option(help="What the edited films show.")],
    name: Annotated[str, typer.Option(help="What to call the shift.")] = "custom",
    target_after: Annotated[int, typer.Option(min=0, max=1, help="The edited films' target; films with the other one are edited.")] = 0,
    keep: Annotated[str, typer.Option(help="rest (all outside the edit mask), file (keep_mask_file_name) or nothing.")] = "nothing",
    dilation_px: Annotated[float, typer.Option(min=0, help="Masks are widened by this, on films of 512 px.")] = 0,
    text_before: Annotated[str, typer.Option(help="What sources without a caption show, for sham and score.")] = "",
    whole: Annotated[bool, typer.Option("--whole", help="Edit films without an edit mask too, as a whole.")] = False,
    output: Output = None, threshold: Threshold = None,
    robust: Robust = None, robust_output: RobustOutput = None, robust_threshold: RobustThreshold = None,
    model: Editor = None, guidance_scale: Guidance = None, num_inference_steps: Steps = None, skip: Skip = None,
    fresh_noise: FreshNoise = None, method: Method = "radedit", preset: PresetOption = "exact", score: ScoreOption = None, least_score: LeastScore = 0.2,
    simulated: Simulated = False, seed: Seed = 0, limit: Limit = None, device: Device = "cpu",
) -> None:  # fmt: skip
    """A shift of your own: any prompt, any masks."""
    from synthorax.stress import Shift

    given = locals()
    own = {key: given.pop(key) for key in ("name", "target_after", "keep", "dilation_px", "text_before")}
    shift = Shift(**own, prompt=prompt, needs_mask=not given.pop("whole"))
    _test(name, shift, **{key: value for key, value in given.items() if key != "Shift"})


@app.command()
def population(
    tested: Annotated[str, typer.Argument(help="A folder of 'train segmenter', xrv:pspnet of TorchXRayVision (opens its pickle), an .onnx file, or module:name, a callable from films (N, H, W) in [0, 1] to lung masks (that runs your code).")],
    films: Annotated[Path, typer.Option(help="CSV or Parquet: file_name, patient_id, left_lung_mask_file_name, right_lung_mask_file_name; image_id, caption where they apply. Films without findings.")],
    out: Out,
    output: Annotated[str | None, typer.Option(help="Which of the outputs are lungs: names or numbers, by commas.")] = None,
    robust: Annotated[str | None, typer.Option(help="A segmenter known to find covered lungs; no verdict without one.")] = None,
    robust_output: Annotated[str | None, typer.Option(help="Its lungs; default as --output.")] = None,
    kinds: Annotated[str | None, typer.Option(help="By commas: oedema, pacemaker, consolidation; default all.")] = None,
    model: Editor = None, guidance_scale: Guidance = None, num_inference_steps: Steps = None, skip: Skip = None,
    fresh_noise: FreshNoise = None, method: Method = "radedit", preset: PresetOption = "exact", score: ScoreOption = None, least_score: LeastScore = 0.2,
    simulated: Simulated = False, seed: Seed = 0, limit: Limit = None, device: Device = "cpu",
) -> None:  # fmt: skip
    """A lung segmenter under oedema, pacemaker, consolidation: Dice and distances (RadEdit, section 5.4)."""
    from synthorax.diffusion import load_model
    from synthorax.errors import unknown_choice
    from synthorax.stress import (
        EMBEDDED_PROMPTS,
        POPULATION,
        load_segmenter,
        make_lungs_stressed,
        measure_population,
        read_lungs,
        write_population_page,
    )
    from synthorax.stress.population import in_own_words

    chosen = names_of(kinds) or list(POPULATION)
    for kind in chosen:
        if kind not in POPULATION:
            raise unknown_choice("abnormality", kind, POPULATION)
    table = read_lungs(films)
    segmenter = load_segmenter(tested, output, device=device)
    reference = None if robust is None else load_segmenter(robust, robust_output or output, device=device)
    editor = load_model(model, device=device)
    walk = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "skip": skip, "fresh_noise": fresh_noise}  # fmt: skip
    stressed = {
        kind: make_lungs_stressed(
            table, in_own_words(POPULATION[kind], EMBEDDED_PROMPTS[kind] if model is None else {}), editor, out / kind,
            score=_score(score, simulated, device), least_score=least_score, is_simulated=simulated, seed=seed, limit=limit,
            method=method, preset=preset, **{key: value for key, value in walk.items() if value is not None},
        )
        for kind in chosen
    }  # fmt: skip
    found = measure_population(segmenter, table, stressed, robust=reference, seed=seed)
    found.save(out)
    write_population_page(found, stressed, segmenter, out)
    for shift in found.shifts:
        typer.echo(shift.verdict)
        for control in shift.controls:
            typer.echo(f"  {'passes' if control.passes else 'FAILS '}  {control.name}: {control.said}")
    typer.echo(f"{out}/population.html")


@app.command()
def corruptions(
    tested: Model, films: Films, out: Annotated[Path, typer.Option(help="Folder of results and page.")],
    kinds: Annotated[str | None, typer.Option(help="By commas: noise, blur, jpeg, overexposure, underexposure, rotation, resolution; default all.")] = None,
    output: Output = None, threshold: Threshold = None, seed: Seed = 0, device: Device = "cpu",
) -> None:  # fmt: skip
    """Noise, blur, JPEG, exposure, rotation, resolution at five strengths; the finding stays."""
    from synthorax.classifiers import load_tested
    from synthorax.stress import (
        CORRUPTIONS,
        measure_corruptions,
        read_films,
        write_corruptions_page,
    )

    table = read_films(films)
    chosen = tuple(kind.strip() for kind in kinds.split(",")) if kinds else tuple(CORRUPTIONS)
    reader = load_tested(tested, output, threshold=threshold, device=device)
    found = measure_corruptions(reader, table, kinds=chosen, seed=seed)
    found.save(out)
    write_corruptions_page(found, table, out)
    falls = sum(row.falls for row in found.rows)
    typer.echo(f"Accuracy {100 * found.clean.estimate:.1f} %; it falls at {falls} of {len(found.rows)} corruptions; {out}/corruptions.html")  # fmt: skip


@app.command()
def attack(
    tested: Model,
    edits: Annotated[Path, typer.Argument(help="A dataset of 'synthorax edit' from a plan of 'perturb --types intra_class,outer_class': a folder with metadata.parquet.")],
    out: Annotated[Path, typer.Option(help="Folder for attack.json and the page attack.html.")],
    names: Names = None,
    vocabulary: Annotated[str, typer.Option(help="Vocabulary that the plan was made with.")] = "corpa",
    shams: Annotated[Path | None, typer.Option(help="The dataset of 'synthorax edit --sham' from the same plan: what stands beside each edit in place of its source.")] = None,
    threshold: Threshold = None, seed: Seed = 0, device: Device = "cpu",
) -> None:  # fmt: skip
    """CoRPA's attack: films whose concepts were changed, and how far each label falls; figures, no verdict."""
    from synthorax.classifiers import load_tested
    from synthorax.concepts import Vocabulary
    from synthorax.dataset import read_metadata
    from synthorax.stress import attack as measured
    from synthorax.stress import write_attack_page

    reader = load_tested(tested, threshold=threshold, names=names_of(names), device=device)
    table = read_metadata(edits)
    found = measured(reader, table, edits, Vocabulary.load(vocabulary), shams=shams, seed=seed)
    found.save(out)
    write_attack_page(found, table, edits, out)
    for row in found.rows:
        typer.echo(f"{row.perturbation_type:12} {row.label:24} {100 * row.before.estimate:5.1f} % -> {100 * row.attacked.estimate:5.1f} %, n {row.attacked.n_images}, p {row.p_adjusted:.3f}{'  falls' if row.falls else ''}")  # fmt: skip
    typer.echo(f"{out}/attack.html")


@app.command()
def scan(
    tested: Model, films: Films, out: Out,
    concepts: Annotated[str | None, typer.Option(help="Findings and devices by commas; default all.")] = None,
    leave_out: Annotated[str | None, typer.Option(help="Concepts that are the tested finding itself, by commas.")] = None,
    output: Output = None, threshold: Threshold = None,
    model: Editor = None, guidance_scale: Guidance = None, num_inference_steps: Steps = None, skip: Skip = None,
    fresh_noise: FreshNoise = None, method: Method = "radedit", preset: PresetOption = "balanced", simulated: Simulated = False, seed: Seed = 0, limit: Limit = None, device: Device = "cpu",
) -> None:  # fmt: skip
    """Which shift hurts most: every finding and device put into films of target 0, against shams, adjusted by Holm."""
    from synthorax.classifiers import load_tested
    from synthorax.diffusion import load_model
    from synthorax.stress import make_stressed, measure_scan, read_films, scan_shifts, write_scan_page

    shifts = scan_shifts(names_of(concepts), tuple(names_of(leave_out) or ()))
    table = read_films(films)
    reader = load_tested(tested, output, threshold=threshold, device=device)
    editor = load_model(model, device=device)
    walk = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "skip": skip, "fresh_noise": fresh_noise}  # fmt: skip
    stressed = {
        name: (out / name, make_stressed(
            table, shift, editor, out / name, is_simulated=simulated, seed=seed, limit=limit, method=method, preset=preset,
            **{key: value for key, value in walk.items() if value is not None},
        ))
        for name, shift in shifts.items()
    }  # fmt: skip
    found = measure_scan(reader, stressed, {name: shift.prompt for name, shift in shifts.items()}, seed=seed)
    found.save(out)
    for row in found.rows:
        typer.echo(f"{row.prompt:32} {100 * row.change.estimate:+6.1f} points ({100 * row.change.ci_low:+.1f} to {100 * row.change.ci_high:+.1f}), p {row.p_adjusted:.3f}{'  falls' if row.falls else ''}")  # fmt: skip
    write_scan_page(found, stressed, out)
    typer.echo(f"{found.proposal}\n{out}/scan.html")


def _score(named: str | None, simulated: bool, device: str) -> "Score | None":
    """An editing score by name, folder or import path."""
    from functools import partial

    from synthorax.errors import InputError

    if named is None:
        return None
    if ":" in named and not Path(named).is_dir():
        from synthorax.classifiers.models import by_import_path

        return by_import_path(named)
    is_shipped = named == "shipped"
    if is_shipped and not simulated:
        raise InputError("--score shipped knows virtual patients alone; give a folder, or --simulated where the films are such.")  # fmt: skip
    from synthorax.downstream.image_text import load_encoder
    from synthorax.quality.editing_score import editing_scores

    return partial(editing_scores, load_encoder(None if is_shipped else named, device))


def _test(
    name: str, shift: "Shift | None", tested: str, films: Path, out: Path, output: str | None, threshold: float | None,
    robust: str | None, robust_output: str | None, robust_threshold: float | None, model: str | None, prompt: str | None,
    guidance_scale: float | None, num_inference_steps: int | None, skip: float | None, fresh_noise: float | None,
    method: str, preset: str,
    score: str | None, least_score: float, simulated: bool, seed: int, limit: int | None, device: str,
) -> None:  # fmt: skip
    from dataclasses import replace

    from synthorax.classifiers import load_tested
    from synthorax.concepts import Vocabulary
    from synthorax.diffusion import load_model
    from synthorax.perturbations import prompt as in_words
    from synthorax.stress import SHIFTS, make_stressed, measure, read_films, write_page

    table = read_films(films)
    reader = load_tested(tested, output, threshold=threshold, device=device)
    reference = None
    if robust is not None:
        reference = load_tested(robust, robust_output or output, threshold=robust_threshold, device=device)
    if shift is None:
        embedded = in_words([], Vocabulary.load()) if model is None else None
        shift = replace(SHIFTS[name], prompt=prompt or embedded or SHIFTS[name].prompt)
    walk = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "skip": skip, "fresh_noise": fresh_noise}  # fmt: skip
    stressed = make_stressed(
        table, shift, load_model(model, device=device), out,
        score=_score(score, simulated, device), least_score=least_score, is_simulated=simulated, seed=seed, limit=limit,
        method=method, preset=preset, **{key: value for key, value in walk.items() if value is not None},
    )  # fmt: skip
    found = measure(reader, table, stressed, out, robust=reference, seed=seed)
    found.save(out)
    write_page(found, stressed, out)
    typer.echo(found.verdict)
    for control in found.controls:
        typer.echo(f"  {'passes' if control.passes else 'FAILS '}  {control.name}: {control.said}")
    typer.echo(f"{out}/verdict.html")
