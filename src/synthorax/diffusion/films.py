"""Training films: one array of pixels, and who is held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from pydantic import BaseModel, ConfigDict

from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.seeds import generator, is_held_out
from synthorax.studies import prepare, read_film, read_manifest

KINDS = ("virtual", "real", "composite")


class FilmsConfig(BaseModel):
    """Which films are drawn how often.

    Attributes:
        size: height and width, pixels.
        real_fraction, composite_fraction: shares of real films, and of simulated findings on real films, in a batch;
            the rest is virtual. Kinds of which there is no film give their share to the others.
        real_variants: copies of a real film with small shifts, turns, scales and gammas (never a flip).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = 256
    real_fraction: float = 0.5
    composite_fraction: float = 0.0
    real_variants: int = 8


@dataclass(frozen=True)
class Films:
    """pixels: uint8 ``(N, size, size)``, memory-mapped; image_ids, kinds (of :data:`KINDS`), is_held_out: one a film."""

    pixels: np.ndarray
    image_ids: tuple[str, ...]
    kinds: np.ndarray
    is_held_out: np.ndarray

    def is_real(self, index: int) -> bool:
        """Whether the film itself is real, whatever its findings are."""
        return str(self.kinds[index]) != "virtual"

    def draw(self, rng: np.random.Generator, count: int, config: FilmsConfig) -> np.ndarray:
        """Indices of ``count`` training films."""
        shares = (
            1 - config.real_fraction - config.composite_fraction,
            config.real_fraction,
            config.composite_fraction,
        )
        groups = [np.flatnonzero(~self.is_held_out & (self.kinds == kind)) for kind in KINDS]
        there = np.array([share if len(group) else 0.0 for share, group in zip(shares, groups, strict=True)])
        if not there.any():
            there = np.array([float(len(group) > 0) for group in groups])
        chosen = np.searchsorted(np.cumsum(there / there.sum()), rng.random(count), side="right")
        return np.array([groups[k][rng.integers(len(groups[k]))] for k in chosen])


def gather(manifests: Sequence[Path], config: FilmsConfig, cache: Path) -> Films:
    """Read the films of several manifests once and keep them in ``cache``.

    Args:
        manifests: ``studies.parquet`` files, of virtual cohorts or of real films.
        config: size and variants.
        cache: folder for ``films.npy`` and ``films.parquet``; made again when the manifests change.

    Raises:
        InputError: no film can be used.
    """
    pixels_path, table_path = cache / "films.npy", cache / "films.parquet"
    key = str([config.size, config.real_variants, *[(str(p), p.stat().st_size) for p in manifests]])
    if not (table_path.is_file() and pl.read_parquet_metadata(table_path).get("key") == key):
        rows = [row for path in manifests for row in _rows(path, config)]
        if not rows:
            raise InputError(f"no films in {', '.join(map(str, manifests))}; import or sample some first.")
        with atomic(pixels_path) as temporary:
            shape = (len(rows), config.size, config.size)
            pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            film, last = None, None
            for i, row in enumerate(track(rows, "Reading films")):
                if row["file_name"] != last:
                    film, last = read_film(row["file_name"]), row["file_name"]
                pixels[i] = _variant(film, row["variant"], row["file_name"], config.size)
            pixels.flush()
        with atomic(table_path) as temporary:
            pl.DataFrame(rows).write_parquet(temporary, metadata={"key": key})
    table = pl.read_parquet(table_path)
    return Films(
        pixels=np.load(pixels_path, mmap_mode="r"),
        image_ids=tuple(table["image_id"]),
        kinds=table["kind"].to_numpy(),
        is_held_out=table["is_held_out"].to_numpy(),
    )


def n_cached(manifests: Sequence[Path], config: FilmsConfig) -> int:
    """How many films, variants of real ones included, :func:`gather` keeps."""
    return sum(len(_rows(path, config)) for path in manifests)


def _rows(manifest: Path, config: FilmsConfig) -> list[dict]:
    return [
        {
            "file_name": study["file_name"],
            "image_id": study["image_id"],
            "variant": variant,
            "kind": _kind(study["source"]),
            "is_held_out": is_held_out(study["patient_id"]),
        }
        for study in read_manifest(manifest).iter_rows(named=True)
        for variant in range(config.real_variants if _kind(study["source"]) == "real" else 1)
    ]


def _kind(source: str | None) -> str:
    return {"phantom": "virtual", "composite": "composite"}.get(source or "", "real")


def _variant(film, variant: int, name: str, size: int) -> np.ndarray:
    """Variant 0 is the film itself; the others are turned, moved, scaled and toned a little."""
    x = prepare(film, 2 * size if variant else size)
    if variant:
        rng = generator("variant", Path(name).name, variant)
        angle, scale = np.deg2rad(rng.uniform(-4, 4)), rng.uniform(0.94, 1.06)
        c, s, half = scale * np.cos(angle), scale * np.sin(angle), size  # centre of the 2 * size film
        dx, dy = rng.uniform(-0.04, 0.04, 2) * 2 * size
        affine = (c, -s, half - c * half + s * half + dx, s, c, half - s * half - c * half + dy)
        image = Image.fromarray(x).transform(
            x.shape[::-1], Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        x = np.asarray(image.resize((size, size), Image.Resampling.BOX)) ** rng.uniform(0.85, 1.18)
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
