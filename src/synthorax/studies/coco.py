"""COCO's JSON: films, boxes and masks (uncompressed run lengths, polygons as they are), the rater beside.

Source: the COCO data format, https://cocodataset.org/#format-data; ``pycocotools`` reads it. Ids count from 1.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.files import atomic
from synthorax.studies.marks import Mark
from synthorax.studies.run_lengths import encode


class CocoFile:
    """An open ``coco.json``: annotations as they come, images and categories at the end (the order of keys is free)."""

    def __init__(self, file: Any) -> None:
        self.file, self.n_marks = file, 0
        self.images: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, int] = {}
        self.categories: dict[str, int] = {}
        file.write('{"annotations": [')

    def film(self, image: str, place: str | None, size: tuple[int, int]) -> None:
        """A film, also one without marks."""
        self.images[image] = {
            "id": self._id(image), "image_id": image, "file_name": place or image, "height": size[0], "width": size[1]
        }  # fmt: skip

    def mark(self, image: str, mark: Mark, box: Sequence[float], drawn: np.ndarray | None) -> None:
        """A mark with its box (x_min, y_min, x_max, y_max) and its pixels where it has some."""
        x_min, y_min, x_max, y_max = box
        segmentation: Any = []
        if mark.kind == "polygon" and mark.points is not None:
            segmentation = [mark.points.ravel().tolist()]
        elif drawn is not None:
            counts = [int(word) for word in encode(drawn, "coco").split()]
            segmentation = {"size": list(drawn.shape), "counts": counts}
        row = {
            "id": self.n_marks + 1,
            "image_id": self._id(image),
            "category_id": self.categories.setdefault(mark.label or "", len(self.categories) + 1),
            "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
            "area": float(drawn.sum()) if drawn is not None else (x_max - x_min) * (y_max - y_min),
            "iscrowd": 0,
            "segmentation": segmentation,
            "rater": mark.rater,
        }
        self.file.write((",\n" if self.n_marks else "\n") + json.dumps(row))
        self.n_marks += 1

    def _id(self, image: str) -> int:
        return self.ids.setdefault(image, len(self.ids) + 1)

    def close(self) -> None:
        """Write images and categories."""
        categories = [{"id": number, "name": name} for name, number in self.categories.items()]
        rest = {"images": list(self.images.values()), "categories": categories}
        self.file.write("\n],\n" + json.dumps(rest)[1:] + "\n")


@contextmanager
def coco_file(path: Path) -> Iterator[CocoFile]:
    """A ``coco.json`` that appears whole or not at all."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        found = CocoFile(file)
        yield found
        found.close()
