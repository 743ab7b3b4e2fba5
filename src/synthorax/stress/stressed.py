"""The stressed test set on disk: each source edited, and its two controls.

edited/<image_id>.png   the edit: the target is the shift's
sham/<image_id>.png     the same walk asked for what the source shows: the target is the source's
blur/<image_id>.png     the edit mask blurred by as much as the edit changed it
masks/<image_id>__edit.png, __keep.png
metadata.parquet        a row an image, the columns of every synthetic dataset
stress.json             what the set was made with; another is refused
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from synthorax import __version__
from synthorax.classifiers.loading import batches
from synthorax.dataset import metadata_frame, read_png, write_metadata, write_png
from synthorax.editing import METHODS, MaskWarning, blur, dilate, edit
from synthorax.editing.methods import name_with
from synthorax.errors import InputError, ModelError, RunError
from synthorax.files import atomic, sha256_of
from synthorax.progress import track
from synthorax.seeds import derive_seed
from synthorax.stress.films import read_mask
from synthorax.stress.shifts import LEAST_SCORE, Shift

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel

#: What is made of each source, in this order.
ARMS = ("edited", "sham", "blur")
RADEDIT_PX = 512
#: Source films and edits ``(N, H, W)``, texts before and after -> scores ``(N,)``.
Score = Callable[[np.ndarray, np.ndarray, Sequence[str], Sequence[str]], Any]


def make_stressed(
    table: pl.DataFrame,
    shift: Shift,
    model: "DiffusionModel",
    out: Path | str,
    *,
    score: Score | None = None,
    least_score: float = LEAST_SCORE,
    is_simulated: bool = False,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 8,
    **settings: Any,
) -> pl.DataFrame:
    """Edit the sources of a table, with sham and blur beside each edit; the same call goes on with a stopped one.

    The inversion's prompt is the film's caption, and empty where there is none, as in RadEdit. Pixels in the keep mask are
    the source's (:func:`synthorax.editing.edit`).

    Args:
        table: from :func:`~synthorax.stress.films.read_films`; edited are its sources whose target is not the shift's.
        shift: the edit.
        model: by ``synthorax.diffusion.load_model``.
        out: folder.
        score: an editing score; edits below ``least_score`` stay in the metadata, not valid, and are not measured.
        least_score: RadEdit's 0.2.
        is_simulated: films of virtual patients; the embedded model has a word for that.
        seed: of the edits' noise, with each film's id.
        limit: at most so many sources, in the table's order.
        batch_size: rows of a network call; a film comes out the same at one batch size in any company.
        settings: ``method``, ``preset``, ``guidance_scale``, ``num_inference_steps``, ``skip``, ``fresh_noise``, ``outside`` of the edit;
            guidance, steps and skip are the model's own unless given.

    Returns:
        The metadata.

    Raises:
        InputError: no film to edit, or masks that the shift needs are missing.
        RunError: the folder holds a set made with other settings or films.
        ModelError: a score that is not one number an edit.
    """
    out = Path(out)
    rows = list(sources(table, shift).slice(0, limit).iter_rows(named=True))
    walk = {"method": "radedit", "preset": "exact", **model.edit_settings, **settings}
    _claim(out, {
        "software_version": __version__, "shift": asdict(shift), "settings": walk, "seed": seed, "batch_size": batch_size,
        "is_simulated": is_simulated, "model_id": model.model_id, "model_revision": model.model_revision, "model_sha256": model.model_sha256,
        "films": {row["image_id"]: sha256_of(row["file_name"]) for row in rows},
        "masks": [sha256_of(row[name]) for row in rows for name in ("edit_mask_file_name", "keep_mask_file_name") if row[name]],
    })  # fmt: skip
    missing = [row for row in rows if not (out / f"blur/{row['image_id']}.png").is_file()]
    with_company = batches([row["file_name"] for row in missing], batch_size)
    told: dict[str, str] = {}
    for places, films in track(with_company, "Stressed films", unit="batches", total=None):
        some = [missing[place] for place in places]
        _make(some, films, shift, model, out, is_simulated, seed, batch_size, walk, told)
    if told:
        name, message = next(iter(told.items()))
        warnings.warn(f"masks of {len(told)} of {len(missing)} films cannot be used quite as drawn, e.g. of {name}: {message}", MaskWarning, stacklevel=2)  # fmt: skip
    scores = None if score is None else _scores(rows, shift, out, score, batch_size)
    return _describe(rows, shift, model, out, scores, least_score, is_simulated, seed, walk)


def sources(table: pl.DataFrame, shift: Shift) -> pl.DataFrame:
    """The films that the shift edits.

    Raises:
        InputError: none, or one without the keep mask that the shift wants.
    """
    wanted = table.filter(pl.col("role") != "test", pl.col("target") != shift.target_after)
    found = wanted.filter(pl.col("edit_mask_file_name").is_not_null()) if shift.needs_mask else wanted
    if not found.height:
        why = f" with an edit_mask_file_name ({wanted.height} without)" if wanted.height else ""
        raise InputError(
            f"no film can be edited: shift {shift.name!r} wants sources with target {1 - shift.target_after}{why}."
        )
    bare = found.filter(pl.col("keep_mask_file_name").is_null())
    if shift.keep == "file" and bare.height:
        raise InputError(
            f"film {bare['image_id'][0]!r} has no keep_mask_file_name, which shift {shift.name!r} needs. Give it one "
            "(what a model may have learned instead, e.g. the drain), or leave its edit mask out."
        )
    return found


def masks_of(
    row: dict[str, Any], shift: Shift, shape: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Edit and keep mask of a film, bool ``(H, W)`` or None, widened as the shift says."""
    radius_px = shift.dilation_px * max(shape) / RADEDIT_PX
    inside = read_mask(row["edit_mask_file_name"], shape)
    inside = None if inside is None else dilate(inside, radius_px)
    if shift.keep == "rest":
        return inside, None if inside is None else ~inside
    kept = read_mask(row["keep_mask_file_name"], shape) if shift.keep == "file" else None
    return inside, None if kept is None else dilate(kept, radius_px)


def _make(
    rows: list[dict[str, Any]],
    films: np.ndarray,
    shift: Shift,
    model: "DiffusionModel",
    out: Path,
    is_simulated: bool,
    seed: int,
    batch_size: int,
    walk: dict[str, Any],
    told: dict[str, str],
) -> None:
    """One batch of sources of one shape; blur is written last, so that a source with one is whole."""
    masks = [masks_of(row, shift, films.shape[1:]) for row in rows]
    edits, keeps = zip(*masks, strict=True)
    prompts = list(_prompts(rows, shift, model, is_simulated))
    captions, asked, shown = (list(texts) for texts in zip(*prompts, strict=True))
    takes_masks = METHODS[walk["method"]].takes_masks if walk["method"] in METHODS else True
    both: dict[str, Any] = {
        "seeds": [derive_seed(seed, row["image_id"]) for row in rows] * 2,
        "inversion_prompts": captions * 2,
        "negative_prompts": [model.domain(is_simulated)] * 2 * len(rows),
        "edit_masks": [*edits, *edits] if takes_masks else None,
        "keep_masks": [*keeps, *keeps] if takes_masks else None,
    }

    def report(index: int, message: str) -> None:
        told[rows[index % len(rows)]["image_id"]] = message

    # Edit and sham of a film share its inversion.
    made = edit(
        np.concatenate([films, films]), asked + shown, model=model, batch_size=batch_size, pad_batches=True,
        report=report, **both, **walk,
    )  # fmt: skip
    for row, film, edited, sham, mask in zip(rows, films, made, made[len(rows) :], masks, strict=False):
        marks = {"Synthetic": "YES"} | ({"Simulated": "YES"} if is_simulated else {})
        for name, pixels in zip(("edit", "keep"), mask, strict=True):
            if pixels is not None:
                write_png(pixels, out / f"masks/{row['image_id']}__{name}.png", **marks)
        for arm, image in zip(ARMS, (edited, sham, blur(film, edited, mask[0])), strict=True):
            write_png(image, out / f"{arm}/{row['image_id']}.png", **marks)


def _prompts(
    rows: list[dict[str, Any]], shift: Shift, model: "DiffusionModel", is_simulated: bool
) -> Iterator[tuple[str, str, str]]:
    """Of each film: what it is inverted with, what the edit asks for, what the sham asks for."""
    domain = model.domain(is_simulated)
    for row in rows:
        caption = row["caption"] or ""
        yield tuple(f"{domain} {text}".strip() for text in (caption, shift.prompt, caption or shift.text_before))  # type: ignore[misc]  # fmt: skip


def _scores(
    rows: list[dict[str, Any]], shift: Shift, out: Path, score: Score, batch_size: int
) -> list[float]:
    """The editing score of each edit."""
    found: list[float] = []
    for places, films in batches([row["file_name"] for row in rows], batch_size):
        edited = np.stack([read_png(out / f"edited/{rows[place]['image_id']}.png") for place in places])
        before = [rows[place]["caption"] or shift.text_before for place in places]
        values = np.asarray(score(films, edited, before, [shift.prompt] * len(places)), dtype=float)
        if values.shape != (len(places),) or np.isnan(values).any():
            raise ModelError(
                f"the score returns shape {values.shape} with {int(np.isnan(values).sum())} NaN for {len(places)} edits; "
                "expected one number each."
            )
        found += values.tolist()
    return found


def _describe(
    rows: list[dict[str, Any]],
    shift: Shift,
    model: "DiffusionModel",
    out: Path,
    scores: list[float] | None,
    least_score: float,
    is_simulated: bool,
    seed: int,
    walk: dict[str, Any],
) -> pl.DataFrame:
    """Write and return the metadata: three rows a source."""
    texts = list(_prompts(rows, shift, model, is_simulated))
    found = []
    for i, row in enumerate(rows):
        value = None if scores is None else scores[i]
        is_valid = value is None or value >= least_score
        caption, asked, shown = texts[i]
        paths = {
            name: f"masks/{row['image_id']}__{name}.png"
            for name in ("edit", "keep")
            if (out / f"masks/{row['image_id']}__{name}.png").is_file()
        }
        for arm in ARMS:
            found.append({
                "file_name": f"{arm}/{row['image_id']}.png", "image_id": f"{row['image_id']}__{arm}", "patient_id": row["patient_id"],
                "source_image_id": row["image_id"], "source_file_name": row["file_name"],
                "edit_mask_file_name": paths.get("edit"), "keep_mask_file_name": paths.get("keep"),
                "perturbation_type": shift.name if arm == "edited" else arm,
                "prompt": {"edited": asked, "sham": shown}.get(arm), "inversion_prompt": caption,
                "negative_prompt": model.domain(is_simulated), "seed": derive_seed(seed, row["image_id"]),
                "method": name_with(walk["method"], walk.get("fresh_noise", 0.0)),
                **{name: walk[name] for name in ("preset", "guidance_scale", "num_inference_steps", "skip")},
                "model_id": model.model_id, "model_revision": model.model_revision, "model_sha256": model.model_sha256,
                "score_edit": value, "is_valid": is_valid,
                "reject_reason": None if is_valid else f"editing score {value:.3f} below {least_score:g}",
                "n_tries": 1, "is_synthetic": True, "is_simulated": is_simulated, "software_version": __version__,
            })  # fmt: skip
    frame = metadata_frame(found)
    write_metadata(frame, out)
    return frame


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Write what the set is made with, or refuse a folder that holds another."""
    path, wanted = out / "stress.json", json.loads(json.dumps(settings))
    if not path.is_file():
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1))
        return
    there = json.loads(path.read_text())
    different = next((key for key in wanted if there.get(key) != wanted[key]), None)
    if different:
        raise RunError(f"{path} was made with another {different}. Give the same settings and films, or another --out.")  # fmt: skip
