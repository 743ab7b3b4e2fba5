"""Films on their way into a network: square, of one size, 8 bit (a byte a pixel in memory)."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from synthorax.errors import InputError
from synthorax.studies import read_film

#: An array ``(N, H, W)``, float in [0, 1] or uint8, or the paths of films that ``studies.read_film`` reads.
Films = np.ndarray | Sequence[Path | str]


def load_films(films: Films, image_size_px: int) -> np.ndarray:
    """Films as ``(N, S, S)`` uint8, resized with anti-aliasing; films that are not square get black borders.

    A film given as an array and the same film written by ``dataset.write_png`` come out alike.

    Args:
        films: ``(N, H, W)``, float in [0, 1] or uint8, or paths of PNG, JPEG or DICOM files
            (sizes may differ).
        image_size_px: S.

    Raises:
        InputError: an unreadable file (named), a wrong shape, or values outside [0, 1].
    """
    if isinstance(films, np.ndarray):
        if films.ndim != 3:
            raise InputError(
                f"films have shape {films.shape}; expected (N, H, W). Pass one film as film[None]."
            )
        fitted = [_fit(_eight_bit(film, f"film {row}"), image_size_px) for row, film in enumerate(films)]
    else:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            fitted = list(pool.map(lambda path: _read(path, image_size_px), films))
    return np.stack(fitted) if fitted else np.zeros((0, image_size_px, image_size_px), np.uint8)


def batches(paths: list[str], size: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Rows and their films ``(n, H, W)`` float32 in [0, 1], at most ``size`` neighbours of one shape at a time."""
    rows: list[int] = []
    films: list[np.ndarray] = []
    for row, path in enumerate(paths):
        film = read_film(path).pixels
        if films and (len(films) == size or film.shape != films[0].shape):
            yield rows, np.stack(films)
            rows, films = [], []
        rows.append(row)
        films.append(film)
    if films:
        yield rows, np.stack(films)


def _read(path: Path | str, image_size_px: int) -> np.ndarray:
    return _fit(_eight_bit(read_film(path).pixels, str(path)), image_size_px)


def _eight_bit(film: np.ndarray, name: str) -> np.ndarray:
    if film.dtype == np.uint8:
        return film
    if film.size and not (film.min() >= 0 and film.max() <= 1):
        raise InputError(
            f"{name} has values from {film.min():g} to {film.max():g}; expected 0 to 1. "
            "Divide an 8-bit film by 255."
        )
    return np.rint(film * 255).astype(np.uint8)


def _fit(film: np.ndarray, size: int) -> np.ndarray:
    height, width = film.shape
    if height != width:
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        film = np.pad(film, ((top, side - height - top), (left, side - width - left)))
    if film.shape == (size, size):
        return film
    return np.asarray(Image.fromarray(film).resize((size, size), Image.Resampling.BILINEAR))
