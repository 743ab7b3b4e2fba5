"""The masks of a plan's edits: none, from finding and side, or from the plan's own files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from synthorax.concepts import Vocabulary
from synthorax.dataset import write_png
from synthorax.editing.regions import finding_masks, regions
from synthorax.errors import InputError, unknown_choice
from synthorax.perturbations.prompts import SIDES, prompt
from synthorax.runs.folder import RunFolder

MASKS = ("none", "finding", "file")
COLUMNS = ("edit_mask_file_name", "keep_mask_file_name")


def write_masks(
    run: RunFolder, edits: pl.DataFrame, plan: Path, masks: str, size: int
) -> dict[str, tuple[str | None, str | None]]:
    """Each edit's edit and keep mask below the run's ``synthetic``, or None; by ``edit_id``.

    Args:
        run: the opened run.
        edits: the plan's rows.
        plan: the plan's file; file names in it are relative to its folder.
        masks: one of :data:`MASKS`.
        size: side of the run's sources (px).

    Raises:
        InputError: another choice, a plan without the columns, or a mask that cannot be read.
    """
    if masks not in MASKS:
        raise unknown_choice("masks", masks, MASKS)
    if masks == "none":
        return {}
    if masks == "file" and not any(name in edits.columns for name in COLUMNS):
        raise InputError(
            f"{plan} has neither column {' nor '.join(COLUMNS)}; add one with file names relative to {plan.parent}, "
            "or take --masks finding or none."
        )
    vocabulary = Vocabulary.load()
    names: dict[str, tuple[str | None, str | None]] = {}
    for row in edits.iter_rows(named=True):
        found = (
            _of_findings(row, vocabulary, size) if masks == "finding" else _of_files(row, plan.parent, size)
        )
        edit, keep = (_written(run, kind, row["edit_id"], mask) for kind, mask in zip(("edit", "keep"), found, strict=True))  # fmt: skip
        names[row["edit_id"]] = edit, keep
    return names


def _written(run: RunFolder, kind: str, edit_id: str, mask: np.ndarray | None) -> str | None:
    if mask is None:
        return None
    name = f"masks/{kind}/{edit_id}.png"
    if not (run.synthetic / name).is_file():
        write_png(mask, run.synthetic / name)
    return name


def _of_findings(
    row: Mapping, vocabulary: Vocabulary, size: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """None where what changes has no region (findings of another vocabulary)."""
    changed = {*row["concepts_before"]} ^ {*row["concepts_after"]}
    changed -= {vocabulary.unremarkable}
    if not changed or not changed <= regions().keys():
        return None, None
    text = f"{row['prompt']} {row['inversion_prompt']}"
    sides = {name: side for name, side in _spoken(changed, vocabulary, text)}
    return finding_masks(changed, sides, (size, size))


def _spoken(changed: set[str], vocabulary: Vocabulary, text: str) -> Iterator[tuple[str, str]]:
    """Findings with the side that the prompts say."""
    for name in changed:
        for side in SIDES:
            if vocabulary.by_name[name].sided and prompt([name], vocabulary, {name: side}) in text:
                yield name, side


def _of_files(row: Mapping, folder: Path, size: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The plan's own masks, brought to the sources' form as their films are: short side, centre crop."""
    found: list[np.ndarray | None] = []
    for column in COLUMNS:
        name = row.get(column)
        if name is None:
            found.append(None)
            continue
        path = folder / name
        try:
            with Image.open(path) as image:
                mask = image.convert("L").point(lambda grey: 255 * (grey > 0))
        except OSError as error:
            raise InputError(
                f"{path} is no mask ({error}); {column} of {row['edit_id']} names it."
            ) from error
        short = min(mask.size)
        width, height = (size * side // short for side in mask.size)
        left, top = round((width - size) / 2), round((height - size) / 2)
        mask = mask.resize((width, height), Image.Resampling.NEAREST).crop(
            (left, top, left + size, top + size)
        )
        found.append(np.asarray(mask) > 0)
    return found[0], found[1]
