"""Masks and boxes asked for with prompts, read from a table or a COCO file, and what was asked written beside the films.

A **table** has a column ``prompt`` and any of: ``mask_<class>`` (a PNG's path, relative to the table), ``boxes`` (a JSON
list of ``{"finding", "x", "y", "width", "height"}``, pixels of the model's films; in Parquet a list of such structs), and
``annotation`` (a PNG in the classes' colours). A **COCO file** (``.json``) has ``images`` with ``prompt``, ``width`` and
``height``; an annotation with a segmentation (polygons, or counts not compressed) asks for a mask, one without for a box.

Written below the run's ``synthetic``: ``annotations/<film>.png``, ``masks/<film>__<class>.png``, ``coco.json`` with a box and
counts for each connected part of a mask and each box, and ``annotations.parquet`` as ``studies annotations`` writes it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, UnidentifiedImageError

from synthorax.dataset import write_png
from synthorax.diffusion.annotations import (
    RGB,
    Annotation,
    colour_of,
    draw,
    masks_of_picture,
    transformed,
)
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.phantom.truth import Box, boxes
from synthorax.runs.folder import RunFolder
from synthorax.seeds import generator
from synthorax.studies.annotations import ANNOTATIONS
from synthorax.studies.coco import coco_file
from synthorax.studies.marks import Mark, box_of, pixels_of
from synthorax.studies.run_lengths import decode
from synthorax.studies.tables import read_json, read_table

MASK = "mask_"
COLUMNS = ("annotation", "boxes")
EDGES = ("x_min", "y_min", "x_max", "y_max")


@dataclass(frozen=True)
class Asked:
    """A film's annotation and its picture, uint8 ``(size, size, 3)``."""

    annotation: Annotation
    picture: np.ndarray


@dataclass(frozen=True)
class _Reader:
    """What the parts of a row are checked against."""

    colours: Mapping[str, RGB] | None
    size: int

    def row(self, row: Mapping[str, Any], folder: Path, where: str) -> Asked:
        """A table's row."""
        masks = {
            name.removeprefix(MASK): self.mask(folder / str(value), f"{where}, {name}")
            for name, value in row.items()
            if name.startswith(MASK) and value is not None
        }
        found = [self.box(entry, f"{where}, boxes") for entry in _entries(row.get("boxes"), where)]
        if row.get("annotation") is None:
            return self.asked(Annotation(masks, found), where)
        if masks or found:
            raise InputError(
                f"{where} has an annotation and masks or boxes as well; give the one or the other."
            )
        path = folder / str(row["annotation"])
        picture = np.asarray(self.square(_opened(path, "RGB"), path))
        if self.colours is None:
            return Asked(Annotation(), picture)
        return Asked(Annotation(masks_of_picture(picture, self.colours, str(path))), picture)

    def asked(self, annotation: Annotation, where: str) -> Asked:
        for name in (*annotation.masks, *(name for name, _ in annotation.boxes)):
            try:
                colour_of(name, self.colours)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        return Asked(annotation, draw(annotation, self.colours, self.size))

    def mask(self, path: Path, where: str) -> np.ndarray:
        grey = np.asarray(self.square(_opened(path, "L"), path))
        if not grey.any():
            raise InputError(
                f"{where}: {path} is empty; leave the cell blank where the finding is not wanted."
            )
        return grey > grey.max() / 2  # 0 and 1 as well as 0 and 255

    def square(self, image: Image.Image, path: Path) -> Image.Image:
        if image.width != image.height:
            raise InputError(
                f"{path} is {image.width} x {image.height} px; films are square: cut or pad it to a square."
            )
        return image.resize((self.size, self.size), Image.Resampling.NEAREST)

    def box(self, entry: Any, where: str) -> tuple[str, Box]:
        try:
            name, (x, y, width, height) = str(entry["finding"]), (float(entry[key]) for key in Box._fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: {entry!r} is no box; expected finding, x, y, width and height (pixels)."
            ) from error
        return name, self.inside(x, y, width, height, where)

    def inside(self, x: float, y: float, width: float, height: float, where: str) -> Box:
        """A box in whole pixels, on the film."""
        if not (width > 0 and height > 0 and x >= 0 and y >= 0 and x + width <= self.size and y + height <= self.size):  # fmt: skip
            raise InputError(
                f"{where}: the box x {x:g}, y {y:g}, width {width:g}, height {height:g} is not on a film of {self.size} x "
                f"{self.size} px; correct it."
            )
        left, top = min(int(x), self.size - 1), min(int(y), self.size - 1)
        return Box(left, top, max(1, round(x + width) - left), max(1, round(y + height) - top))


def read_asked(prompts: Path, count: int, colours: Mapping[str, RGB] | None, size: int) -> list[Asked]:
    """The annotations of the first ``count`` prompts; a row without any asks for none (a black picture).

    Args:
        prompts: a table or COCO file, see above.
        count: how many.
        colours: class -> colour; None paints everything white.
        size: side of the model's films, pixels.

    Raises:
        InputError: no annotation in the whole file, or one that cannot be used.
    """
    reader = _Reader(colours, size)
    if prompts.suffix == ".json":
        coco = read_coco(prompts)
        return [_of_coco(coco, image, reader, prompts) for image in coco["images"][:count]]
    table = None if prompts.suffix == ".txt" else read_table(prompts).drop_nulls("prompt")
    if table is None or not any(name in COLUMNS or name.startswith(MASK) for name in table.columns):
        raise InputError(
            f"{prompts} asks for no place; expected columns {MASK}<class>, boxes or annotation, or a COCO file (.json)."
        )
    rows = table.head(count).to_dicts()
    return [reader.row(row, prompts.parent, f"{prompts} row {i + 1}") for i, row in enumerate(rows)]


def read_coco(path: Path) -> dict[str, Any]:
    """A COCO file with ``images``, ``annotations`` and ``categories``, each image with its prompt.

    Raises:
        InputError: not of that form.
    """
    coco = read_json(path, dict)
    for key in ("images", "annotations", "categories"):
        if not isinstance(coco.get(key), list):
            raise InputError(
                f"{path} has no list {key!r}; expected a COCO file of images, annotations and categories."
            )
    for i, image in enumerate(coco["images"]):
        missing = [key for key in ("id", "prompt", "width", "height") if key not in image]
        if missing:
            raise InputError(
                f"{path} image {i + 1} has no {missing[0]!r}; expected id, prompt, width and height."
            )
    return coco


def _of_coco(coco: Mapping[str, Any], image: Mapping[str, Any], reader: _Reader, path: Path) -> Asked:
    names = {category.get("id"): str(category.get("name")) for category in coco["categories"]}
    where, side = f"{path} image {image['id']}", image["width"]
    if side != image["height"]:
        raise InputError(
            f"{where} is {side} x {image['height']} px; films are square: cut or pad it to a square."
        )
    masks: dict[str, np.ndarray] = {}
    found = []
    for entry in coco["annotations"]:
        if entry.get("image_id") != image["id"]:
            continue
        if entry.get("category_id") not in names:
            raise InputError(f"{where}: category {entry.get('category_id')} is not among the categories.")
        name, scale = names[entry["category_id"]], reader.size / side
        if entry.get("segmentation"):
            mask = _filled(entry["segmentation"], side, where)
            resized = np.asarray(Image.fromarray(mask).resize((reader.size,) * 2, Image.Resampling.NEAREST))
            if not resized.any():
                raise InputError(f"{where}: a segmentation of {name} is empty; leave it out.")
            masks[name] = masks.get(name, np.zeros_like(resized)) | resized
        else:
            box = entry.get("bbox")
            if not isinstance(box, list) or len(box) != 4:
                raise InputError(f"{where}: bbox is {box!r}; expected [x, y, width, height].")
            x, y, width, height = (scale * value for value in box)
            found.append((name, reader.inside(x, y, width, height, where)))
    return reader.asked(Annotation(masks, found), where)


def _filled(segmentation: Any, side: int, where: str) -> np.ndarray:
    """COCO's polygons, or its counts."""
    if isinstance(segmentation, list):
        try:
            points = [np.array(polygon, dtype=float).reshape(-1, 2) for polygon in segmentation]
        except ValueError as error:
            raise InputError(f"{where}: a polygon is no list of x, y, x, y ...; correct it.") from error
        marks = [Mark("", None, "polygon", points=some) for some in points]
        return np.any([pixels_of(mark, (side, side)) for mark in marks], axis=0)
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    if not isinstance(counts, list):
        raise InputError(
            f"{where}: counts are compressed or missing; expected polygons, or a list of counts."
        )
    try:
        return decode(counts, side, side, "coco")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _opened(path: Path, mode: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert(mode)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; paths are relative to the table.") from error
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path} is no picture that can be read; save it as PNG.") from error


def _entries(boxes: Any, where: str) -> Sequence[Any]:
    if boxes is None:
        return ()
    if isinstance(boxes, str):
        try:
            boxes = json.loads(boxes)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: boxes are not JSON ({error}).") from error
    if not isinstance(boxes, list):
        raise InputError(f"{where}: boxes are {boxes!r}; expected a list.")
    return boxes


def varied(asked: Asked, seed: int, colours: Mapping[str, RGB] | None) -> Asked:
    """The annotation turned, scaled and moved a little, drawn from the film's seed.

    Raises:
        InputError: a picture whose parts are not known.
    """
    annotation, size = asked.annotation, len(asked.picture)
    if asked.picture.any() and not (annotation.masks or annotation.boxes):
        raise InputError("the control folder has no card.json with colours, so that pictures cannot be transformed; give masks.")  # fmt: skip
    moved = transformed(annotation, generator("transform", seed), size)
    return Asked(moved, draw(moved, colours, size))


def write_pictures(run: RunFolder, name: str, asked: Asked) -> str:
    """Write a film's annotation and masks; returns the picture's path below ``synthetic``."""
    picture = f"annotations/{name}.png"
    write_png(asked.picture.astype(np.float32) / 255, run.synthetic / picture, Synthetic="YES")
    for one, mask in asked.annotation.masks.items():
        write_png(mask, run.synthetic / "masks" / f"{name}__{one}.png", Synthetic="YES")
    return picture


def write_tables(run: RunFolder, films: Iterable[tuple[str, str, Asked]]) -> None:
    """``coco.json`` and ``annotations.parquet`` of the films that were made: image_id, ``file_name``, what was asked."""
    rows = []
    with coco_file(run.synthetic / "coco.json") as coco:
        for image_id, file_name, asked in films:
            size = asked.picture.shape[0], asked.picture.shape[1]
            coco.film(image_id, file_name, size)
            drawn = [(name, _corners(box)) for name, box in asked.annotation.boxes]
            for name, mask in asked.annotation.masks.items():
                for box, part in _parts(mask):
                    coco.mark(image_id, Mark(image_id, name, "mask"), _corners(box), part)
            for name, edges in drawn:
                coco.mark(image_id, Mark(image_id, name, "box"), edges, None)
            size_of = {"image_id": image_id, "height": size[0], "width": size[1]}
            rows += [
                size_of | {"label": name, "kind": "box"} | dict(zip(EDGES, edges, strict=True))
                for name, edges in drawn
            ]
            for name, mask in asked.annotation.masks.items():
                place = f"masks/{Path(file_name).stem}__{name}.png"
                around = dict(zip(EDGES, box_of(mask) or (), strict=True))
                rows.append(size_of | {"label": name, "kind": "mask", "mask_file_name": place} | around)
    frame = pl.DataFrame([{name: row.get(name) for name in ANNOTATIONS} for row in rows], schema=ANNOTATIONS)
    with atomic(run.synthetic / "annotations.parquet") as temporary:
        frame.write_parquet(temporary)


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.x + box.width, box.y + box.height


def _parts(mask: np.ndarray) -> list[tuple[Box, np.ndarray]]:
    """Each connected part with its box; specks alone count as one part."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    found = []
    for box in boxes(mask):
        inside = labels[box.y : box.y + box.height, box.x : box.x + box.width]
        own = np.bincount(inside[inside > 0]).argmax()
        found.append((box, labels == own))
    if not found:
        x_min, y_min, x_max, y_max = map(int, box_of(mask) or (0, 0, 0, 0))
        found.append((Box(x_min, y_min, x_max - x_min, y_max - y_min), mask))
    return found
