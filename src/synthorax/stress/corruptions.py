"""Simple corruptions beside the generative shifts: what any film may meet on its way, at five strengths.

The finding stays, so the target stays. After Hendrycks and Dietterich 2019, with kinds and strengths for films; done by
torchvision and Pillow, NumPy drawing the noise, so that a film's noise follows from the seed and its own id.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from PIL import Image

from synthorax.classifiers.models import TestedModel
from synthorax.classifiers.statistics import Difference, Interval, bootstrap
from synthorax.dataset import write_png
from synthorax.errors import InputError, unknown_choice
from synthorax.files import atomic
from synthorax.progress import track
from synthorax.seeds import generator
from synthorax.studies import read_film

if TYPE_CHECKING:
    import torch

STRENGTHS = (1, 2, 3, 4, 5)
#: False discoveries among what is called a fall (Benjamini and Hochberg).
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    Attributes:
        amounts: one a strength.
        unit: what an amount is.
        apply: film ``(1, H, W)`` float32 in [0, 1], amount, generator -> the same; values beyond [0, 1] are cut.
    """

    amounts: tuple[float, ...]
    unit: str
    apply: Callable[["torch.Tensor", float, np.random.Generator], "torch.Tensor"]


def _noise(film: "torch.Tensor", sd: float, rng: np.random.Generator) -> "torch.Tensor":
    import torch

    return film + sd * torch.from_numpy(rng.standard_normal(film.shape, np.float32))


def _blur(film: "torch.Tensor", sigma: float, rng: np.random.Generator) -> "torch.Tensor":
    from torchvision.transforms.v2.functional import gaussian_blur

    sigma_px = sigma * max(film.shape)
    # Odd, three sigmas either way; reflection wants a kernel within the film.
    reach = min(int(np.ceil(3 * sigma_px)), min(film.shape[1:]) - 1)
    return gaussian_blur(film, [2 * reach + 1] * 2, [sigma_px] * 2)


def _jpeg(film: "torch.Tensor", quality: float, rng: np.random.Generator) -> "torch.Tensor":
    import torch

    file = io.BytesIO()
    Image.fromarray((film[0] * 255).round().to(torch.uint8).numpy()).save(file, "JPEG", quality=int(quality))
    return torch.from_numpy(np.array(Image.open(file)))[None].float() / 255


def _gamma(film: "torch.Tensor", gamma: float, rng: np.random.Generator) -> "torch.Tensor":
    return film**gamma


def _rotation(film: "torch.Tensor", degrees: float, rng: np.random.Generator) -> "torch.Tensor":
    from torchvision.transforms.v2.functional import InterpolationMode, rotate

    side = 1 if rng.random() < 0.5 else -1
    return rotate(film, side * degrees, InterpolationMode.BILINEAR)


def _resolution(film: "torch.Tensor", divisor: float, rng: np.random.Generator) -> "torch.Tensor":
    from torchvision.transforms.v2.functional import resize

    height, width = film.shape[1:]
    small = resize(film, [max(1, round(height / divisor)), max(1, round(width / divisor))], antialias=True)
    return resize(small, [height, width], antialias=True)


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": Corruption((0.02, 0.04, 0.08, 0.12, 0.18), "standard deviation, of the grey range", _noise),
    "blur": Corruption((0.002, 0.004, 0.008, 0.012, 0.018), "sigma, of the longer side", _blur),
    "jpeg": Corruption((60, 40, 20, 10, 5), "quality", _jpeg),
    "overexposure": Corruption((1.25, 1.5, 2, 2.5, 3.5), "gamma, darker", _gamma),
    "underexposure": Corruption((0.8, 0.67, 0.5, 0.4, 0.3), "gamma, brighter", _gamma),
    "rotation": Corruption((3, 6, 10, 15, 25), "degrees, either way", _rotation),
    "resolution": Corruption((2, 3, 4, 6, 8), "times coarser", _resolution),
}


def corrupt(film: np.ndarray, kind: str, strength: int, *, seed: object = 0) -> np.ndarray:
    """A film as it comes out of a corruption.

    Args:
        film: ``(H, W)`` float32 in [0, 1].
        kind: of :data:`CORRUPTIONS`.
        strength: 1 to 5; each changes the film more than the one before.
        seed: of noise and side; the same film, seed and kind give the same result at any time.

    Returns:
        ``(H, W)`` float32 in [0, 1].

    Raises:
        InputError: no such kind or strength.
    """
    import torch

    if kind not in CORRUPTIONS:
        raise unknown_choice("corruption", kind, CORRUPTIONS)
    if strength not in STRENGTHS:
        raise InputError(f"strength is {strength}; expected one of {', '.join(map(str, STRENGTHS))}.")
    corruption = CORRUPTIONS[kind]
    pixels = torch.from_numpy(np.ascontiguousarray(film, np.float32))[None]
    done = corruption.apply(pixels, corruption.amounts[strength - 1], generator("corruption", seed, kind))
    return done.clamp(0, 1)[0].numpy()


@dataclass(frozen=True)
class CorruptionRow:
    """Accuracy at one strength of one kind, and the paired change; ``p_adjusted`` counts all rows (Benjamini-Hochberg)."""

    kind: str
    strength: int
    amount: float
    unit: str
    accuracy: Interval
    change: Difference
    p_adjusted: float
    falls: bool


@dataclass(frozen=True)
class CorruptionTest:
    """Accuracy on the films as they are and at each corruption."""

    model: str
    threshold: float
    clean: Interval
    rows: tuple[CorruptionRow, ...]

    def save(self, folder: Path | str) -> Path:
        """Write ``corruptions.json``."""
        path = Path(folder) / "corruptions.json"
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def measure_corruptions(
    tested: TestedModel,
    table: pl.DataFrame,
    *,
    kinds: tuple[str, ...] = tuple(CORRUPTIONS),
    seed: int = 0,
) -> CorruptionTest:
    """A model's accuracy under corruptions, paired with that on the same films as they are.

    Args:
        tested: the model.
        table: from :func:`~synthorax.stress.films.read_films`; all films are used.
        kinds: of :data:`CORRUPTIONS`.
        seed: of noise, sides and bootstrap.

    Raises:
        InputError: an unknown kind.
        ModelError: the model's answers cannot be used.
    """
    from scipy.stats import false_discovery_control

    for kind in kinds:
        if kind not in CORRUPTIONS:
            raise unknown_choice("corruption", kind, CORRUPTIONS)
    truth = table["target"].to_numpy() == 1
    sets = [(kind, strength) for kind in kinds for strength in STRENGTHS]
    right = [tested.says(table["file_name"].to_list()) == truth]
    for kind, strength in track(sets, "Corruptions", unit="sets"):
        with TemporaryDirectory() as folder:
            right.append(tested.says(_corrupted(table, Path(folder), kind, strength, seed)) == truth)
    correct = np.stack(right, axis=1).astype(float)
    found = bootstrap(
        lambda counts: counts @ correct / counts.sum(1, keepdims=True), table["patient_id"].to_list(), seed=seed
    )  # fmt: skip
    changes = [found[i].minus(found[0]).difference() for i in range(1, len(sets) + 1)]
    adjusted = false_discovery_control([change.p_value for change in changes])
    rows = tuple(
        CorruptionRow(
            kind, strength, CORRUPTIONS[kind].amounts[strength - 1], CORRUPTIONS[kind].unit, found[i + 1].interval(),
            changes[i], float(adjusted[i]), bool(adjusted[i] <= FALSE_DISCOVERY_RATE and changes[i].estimate < 0),
        )
        for i, (kind, strength) in enumerate(sets)
    )  # fmt: skip
    return CorruptionTest(tested.name, float(tested.threshold), found[0].interval(), rows)


def _corrupted(table: pl.DataFrame, folder: Path, kind: str, strength: int, seed: int) -> list[str]:
    """Write the corrupted films; returns their paths."""
    paths = []
    for image_id, name in table.select("image_id", "file_name").iter_rows():
        path = folder / f"{image_id}.png"
        write_png(corrupt(read_film(name).pixels, kind, strength, seed=f"{seed} {image_id}"), path)
        paths.append(str(path))
    return paths
