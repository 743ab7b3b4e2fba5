"""The manifest of a synthetic dataset: a folder of images and one ``metadata.parquet``.

The first column is ``file_name``, the Hugging Face ImageFolder convention, so that
``datasets.load_dataset("imagefolder", data_dir=...)``, polars and pandas open it as it is.
Images are 8-bit grey PNGs, masks 1-bit; each says in its own metadata that it is synthetic.
"""

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, PngImagePlugin

from synthorax import __version__
from synthorax.errors import InputError
from synthorax.files import atomic

SCHEMA_VERSION = "1"

#: Column -> type. NULL where a column does not apply. ``concepts_*`` list the concepts that are present;
#: ``concepts_unknown`` lists those that nobody asked about, which is not the same as absent.
METADATA = {
    "file_name": pl.String,
    "study_id": pl.String,
    "patient_id": pl.String,
    "image_id": pl.String,
    "source_image_id": pl.String,
    "source_file_name": pl.String,
    "counterfactual_file_name": pl.String,
    "edit_mask_file_name": pl.String,
    "keep_mask_file_name": pl.String,
    "concepts_before": pl.List(pl.String),
    "concepts_after": pl.List(pl.String),
    "concepts_unknown": pl.List(pl.String),
    "labels_after": pl.List(pl.String),
    "perturbation_type": pl.String,
    "prompt": pl.String,
    "inversion_prompt": pl.String,
    "negative_prompt": pl.String,
    "seed": pl.Int64,
    "method": pl.String,
    "preset": pl.String,
    "guidance_scale": pl.Float64,
    "num_inference_steps": pl.Int32,
    "skip": pl.Float64,
    "model_id": pl.String,
    "model_revision": pl.String,
    "model_sha256": pl.String,
    "score_edit": pl.Float64,
    "is_valid": pl.Boolean,
    "reject_reason": pl.String,
    "n_tries": pl.Int32,
    "is_synthetic": pl.Boolean,
    "is_simulated": pl.Boolean,
    "software_version": pl.String,
}


def metadata_frame(rows: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """Rows as a table with exactly the contract's columns; what a row leaves out is NULL.

    Raises:
        InputError: a row has a column that the contract does not know.
    """
    rows = list(rows)
    unknown = sorted({key for row in rows for key in row} - METADATA.keys())
    if unknown:
        raise InputError(
            f"metadata column {unknown[0]!r} is not in schema version {SCHEMA_VERSION}; see synthorax.dataset.METADATA."
        )
    return pl.DataFrame([{key: row.get(key) for key in METADATA} for row in rows], schema=METADATA)


def write_metadata(frame: pl.DataFrame, folder: Path | str) -> Path:
    """Write ``metadata.parquet`` with the schema version in the Parquet metadata; returns its path."""
    path = Path(folder) / "metadata.parquet"
    with atomic(path) as temporary:
        frame.write_parquet(temporary, metadata={"synthorax_schema_version": SCHEMA_VERSION})
    return path


def read_metadata(folder: Path | str) -> pl.DataFrame:
    """Read a dataset's ``metadata.parquet`` and check its version.

    Raises:
        InputError: no manifest there, or one of another schema version.
    """
    path = Path(folder) / "metadata.parquet"
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a dataset folder written by synthorax.")
    try:
        found, frame = pl.read_parquet_metadata(path).get("synthorax_schema_version"), pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(
            f"{path} is damaged ({str(error).splitlines()[0]}); give the command that made the dataset again."
        ) from error
    if found != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {found}; this synthorax reads {SCHEMA_VERSION}. Make the dataset again."
        )
    if frame.schema != METADATA:
        wrong = next(
            (name for name, kind in METADATA.items() if frame.schema.get(name) != kind), frame.columns[-1]
        )
        raise InputError(
            f"{path}: column {wrong!r} is not as in schema version {SCHEMA_VERSION}; see synthorax.dataset.METADATA."
        )
    return frame


def write_png(
    image: np.ndarray, path: Path | str, *, software: str = f"synthorax {__version__}", **text: str
) -> None:
    """Write one film or mask as PNG, whole or not at all.

    Args:
        image: ``(H, W)``; float in [0, 1] (bright = dense, MONOCHROME2), or bool for a mask.
        path: where to; folders are made.
        software: PNG ``Software`` text.
        text: further PNG text, e.g. ``Synthetic="YES"``.
    """
    info = PngImagePlugin.PngInfo()
    for key, value in {"Software": software, **text}.items():
        info.add_text(key, value)
    if image.dtype != bool:
        image = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    with atomic(path) as temporary:  # run lengths: noise gains nothing from a search for longer matches
        Image.fromarray(image).save(temporary, format="PNG", compress_type=zlib.Z_RLE, pnginfo=info)


def read_png(path: Path | str) -> np.ndarray:
    """A grey PNG of this project's own as float32 ``(H, W)`` in [0, 1]; for others see ``studies.read_film``."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=np.float32) / 255
