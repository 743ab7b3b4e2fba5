"""What a long command would cost, before it is begun (``--dry-run``)."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """Rows, network evaluations, hours on this machine as measured now, and gigabytes at most."""

    rows: int
    evaluations: int
    hours: float
    disk_gb: float

    def __str__(self) -> str:
        return (
            f"{self.rows} rows, {self.evaluations} evaluations, about {self.hours:.2g} hours on this machine, "
            f"at most {self.disk_gb:.2g} GB; nothing was made."
        )


def estimate(
    rows: int,
    evaluations: int,
    num_inference_steps: int,
    batch: Callable[[int], object],
    batch_size: int,
    bytes_a_row: int,
) -> Estimate:
    """Two short batches are timed: what a batch costs however many steps it has, and what a step adds.

    Args:
        rows: images to make.
        evaluations: of an image.
        num_inference_steps: used steps of an image.
        batch: makes a full batch with so many steps.
        batch_size: images of it.
        bytes_a_row: on disk.
    """
    batch(1)  # warms up
    one, three = _seconds(batch, 1), _seconds(batch, 3)
    step = max(three - one, 0) / 2
    seconds = -(-rows // batch_size) * (max(one - step, 0) + step * num_inference_steps)
    return Estimate(rows, rows * evaluations, seconds / 3600, rows * bytes_a_row / 1e9)


def _seconds(batch: Callable[[int], object], steps: int) -> float:
    began = time.perf_counter()
    batch(steps)
    return time.perf_counter() - began


def estimate_edits(rows: int, model, settings, batch_size: int, size: int) -> Estimate:
    """Of ``synthorax edit`` with sources of ``size`` x ``size`` px; an 8-bit PNG is no larger than its pixels."""
    from synthorax.editing import edit
    from synthorax.editing.inversion import n_used
    from synthorax.editing.methods import evaluations, preset_named

    films = np.random.default_rng(0).random((batch_size, size, size), dtype=np.float32)

    def batch(steps: int) -> None:
        edit(films, ["."] * batch_size, model=model, seeds=[0] * batch_size, num_inference_steps=steps, skip=0,
             guidance_scale=settings.guidance_scale, method=settings.method, batch_size=batch_size,
             inversion_prompts=["."] * batch_size)  # fmt: skip

    way = preset_named(settings.preset).way(
        settings.guidance_scale, settings.num_inference_steps, settings.skip
    )
    used = n_used(way.num_inference_steps, way.skip)
    cost = evaluations(settings.method, settings.num_inference_steps, settings.skip, settings.preset)
    return estimate(rows, cost, used, batch, batch_size, 2 * size * size)


def estimate_films(rows: int, model, settings, batch_size: int) -> Estimate:
    """Of ``synthorax generate``."""
    from synthorax.diffusion.sampling import sample

    def batch(steps: int) -> None:
        sample(model, [""] * batch_size, [0] * batch_size, guidance_scale=settings.guidance_scale,
               num_inference_steps=steps)  # fmt: skip

    steps = settings.num_inference_steps
    return estimate(rows, 2 * steps, steps, batch, batch_size, model.image_size**2)
