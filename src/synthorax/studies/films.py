"""From a file to a film: one grey convention for PNG, JPEG and DICOM, and RadEdit's preprocessing.

Inside synthorax a film is float32 ``(H, W)`` in [0, 1], MONOCHROME2: bright is dense. What was done to the
stored values on the way there is carried in ``Film.applied``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthorax.errors import InputError

#: What a film's file may be called; where a table names one of them, a sibling with another one serves too.
FILM_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
#: More pixels than any detector has; a header that claims more is refused before anything is decoded.
LARGEST_PX = 100_000_000


@dataclass(frozen=True, eq=False)
class Film:
    """One radiograph and where its grey values come from.

    Attributes:
        pixels: float32 ``(H, W)`` in [0, 1], MONOCHROME2 (bright = dense).
        photometric_interpretation: as the file states it; for PNG and JPEG ``MONOCHROME2``, which is assumed.
        bits_stored: bits a stored value has (8, 12, 16, ...).
        pixel_spacing_mm: distance between rows and between columns, or None where the file doesn't say.
        view_position: ``PA``, ``AP``, ``LATERAL`` or None.
        applied: what was done to the stored values, in order, in words.
    """

    pixels: np.ndarray
    photometric_interpretation: str = "MONOCHROME2"
    bits_stored: int = 8
    pixel_spacing_mm: tuple[float, float] | None = None
    view_position: str | None = None
    applied: tuple[str, ...] = ()


def kind_of(path: Path) -> str:
    """``png``, ``jpeg`` or ``dicom`` by the first bytes; a suffix can be wrong or absent.

    Raises:
        InputError: no such file, or another kind of file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; put the film there, or correct the path.")
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened ({error.strerror}); check the file's permissions."
        ) from error
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[128:] == b"DICM":
        return "dicom"
    raise InputError(
        f"{path} is not a film that can be read: expected PNG, JPEG or DICOM with its 128-byte preamble. "
        "Export it again in one of them."
    )


def read_film(path: Path | str) -> Film:
    """Read one radiograph.

    PNG and JPEG: grey values over the full range of their bits (a 16-bit PNG is divided by 65535, also where
    it holds 12-bit values); colour becomes luma (ITU-R 601), transparency is black, a JPEG's EXIF
    orientation is applied. DICOM: see :func:`synthorax.studies.dicom.read_dicom`.

    Raises:
        InputError: missing, not a film, damaged, or of a kind that is refused (multi-frame, CMYK, ...).
    """
    path = Path(path)
    if kind_of(path) == "dicom":
        from synthorax.studies.dicom import read_dicom

        return read_dicom(path)
    return _read_picture(path)


def check_film(path: Path | str) -> None:
    """Open a film's header alone: cheap, so an import can look at every file. Pixels may still be damaged.

    Raises:
        InputError: as :func:`read_film` would, for all that a header shows.
    """
    path = Path(path)
    if kind_of(path) == "dicom":
        from synthorax.studies.dicom import read_header

        read_header(path)
        return
    with _opened(path):
        pass


def film_size(path: Path | str) -> tuple[int, int]:
    """Height and width that :func:`read_film` would give, from the header alone.

    Raises:
        InputError: as :func:`check_film`; or the header has the film turned, so that what was drawn on the stored pixels
            would not lie on the film.
    """
    path = Path(path)
    if kind_of(path) == "dicom":
        from synthorax.studies.dicom import read_header, turns

        header = read_header(path)
        turned, size = turns(header), (int(header.Rows), int(header.Columns))
    else:
        with _opened(path) as image:
            has_exif = (
                image.format == "JPEG" or "exif" in image.info
            )  # a PNG without it would be decoded to look
            turned, size = has_exif and image.getexif().get(0x0112, 1) != 1, (image.height, image.width)
    if turned:
        raise InputError(
            f"{path} is stored turned, by its header; annotations are drawn on the stored pixels. Save it upright."
        )
    return size


def _read_picture(path: Path) -> Film:
    from PIL import ImageOps

    applied = []
    with _opened(path) as image:
        image.load()
        if image.getexif().get(0x0112, 1) != 1:
            image = ImageOps.exif_transpose(image)
            applied.append("EXIF orientation")
        if image.mode.startswith("I"):
            values, bits = np.asarray(image, dtype=np.float32) / 65535, 16
        else:
            values, bits = _grey8(image, applied), 8
    return Film(values, bits_stored=bits, applied=tuple(applied))


@contextmanager
def _opened(path: Path) -> Iterator:
    """A picture whose header is fit; what Pillow finds wrong with it, then or later, becomes one sentence."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            _check_mode(image.mode, path)
            _check_size(image.width, image.height, path)
            yield image
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise InputError(
            f"{path} is damaged and cannot be read ({error}); copy it again from its source."
        ) from error


def _grey8(image, applied: list[str]) -> np.ndarray:
    """An 8-bit picture's grey values in [0, 1]."""
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L"), dtype=np.float32) / 255
    applied.append(f"{image.mode} to grey")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        grey, alpha = image.convert("RGBA").convert("LA").split()
        return np.asarray(grey, dtype=np.float32) / 255 * (np.asarray(alpha, dtype=np.float32) / 255)
    return np.asarray(image.convert("RGB").convert("L"), dtype=np.float32) / 255


def _check_mode(mode: str, path: Path) -> None:
    if mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I", "I;16", "I;16B"):
        raise InputError(
            f"{path} has colour mode {mode}; expected grey, RGB or palette. Save it as grey PNG."
        )


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > LARGEST_PX:
        raise InputError(f"{path} {too_large(width, height)}")


def too_large(width: int, height: int) -> str:
    """The rest of a sentence that starts with the path."""
    return f"claims {width} x {height} px; expected at most {LARGEST_PX:,} in all. Check where it comes from."


def prepare(film: "Film | np.ndarray", size: int) -> np.ndarray:
    """RadEdit's preprocessing: short side to ``size``, centre crop, minimum and maximum to 0 and 1.

    Perez-Garcia et al. 2024, appendix A (bilinear; their range is [-1, 1]).
    The crop loses the long side's ends.

    Args:
        film: a film, or its pixels ``(H, W)``.
        size: side of the result in pixels.

    Returns:
        float32 ``(size, size)``, minimum 0, maximum 1.

    Raises:
        InputError: every pixel of the crop has the same value.
    """
    from PIL import Image

    pixels = film.pixels if isinstance(film, Film) else film
    height, width = pixels.shape
    short = min(height, width)
    new_height, new_width = size * height // short, size * width // short
    resized = np.asarray(
        Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32)).resize(
            (new_width, new_height), Image.Resampling.BILINEAR
        )
    )
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    crop = resized[top : top + size, left : left + size]
    low, high = float(crop.min()), float(crop.max())
    if not high > low:
        raise InputError(f"the film is blank: every pixel is {low:.3g}. Leave it out or export it again.")
    return ((crop - low) / (high - low)).astype(np.float32)
