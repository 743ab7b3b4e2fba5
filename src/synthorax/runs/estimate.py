"""What a long command would cost, before it is begun (``--dry-run``)."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """Rows, network evaluations, hours on this machine as measured now, and gigabytes at most."""

    rows: int
    evaluations: int
    hours: float
    disk_gb: float

    def __add__(self, other: "Estimate") -> "Estimate":
        """One after the other."""
        return Estimate(
            self.rows + other.rows,
            self.evaluations + other.evaluations,
            self.hours + other.hours,
            self.disk_gb + other.disk_gb,
        )

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


def estimate_own_films(studies: Path, format: str, means, seed: int, per_type: int, reports: Path | None) -> Estimate:  # fmt: skip
    """Of ``synthorax run``: headers are read and the edits planned; films that turn out damaged would have fewer."""
    from synthorax.concepts import Vocabulary, annotate_studies
    from synthorax.perturbations import make_plan
    from synthorax.runs.making import EditSettings
    from synthorax.runs.own_films import CARS, SIZE
    from synthorax.studies import import_studies

    imported = import_studies(studies, format, limit=means.limit, reports=reports)
    words = Vocabulary.load()
    table = annotate_studies(imported.frame, words)
    plan = make_plan(table, words, CARS, per_type=per_type, strategy="coverage", seed=seed)
    model = means.load_model()
    return estimate_edits(
        plan.edits.height, model, EditSettings(**model.edit_settings), means.batch_size, SIZE
    )


def estimate_cohort(n: int, seed: int, options: Mapping[str, Any]) -> Estimate:
    """Of ``synthorax phantom sample``: one patient and three are made and thrown away. A row is a film.

    ``options`` are those of :func:`synthorax.phantom.sample_cohort`.
    """
    from synthorax.phantom import sample_cohort

    with tempfile.TemporaryDirectory() as place:

        def patients(count: int) -> tuple[float, int]:
            folder = Path(tempfile.mkdtemp(dir=place))
            began = time.perf_counter()
            sample_cohort(count, seed, folder, **{**options, "workers": 1})
            seconds = time.perf_counter() - began
            return seconds, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

        patients(1)  # warms up
        (one_s, one_bytes), (three_s, three_bytes) = patients(1), patients(3)
    seconds, size = _each(one_s, three_s), _each(one_bytes, three_bytes)
    films = n * options.get("renderings", 1) * (1 + options.get("counterfactuals", 0))
    workers = min(options.get("workers", 1), _n_cores())
    return Estimate(films, 0, n * seconds / workers / 3600, n * size / 1e9)


def _each(one: float, three: float) -> float:
    """What one more costs; a third of three where the machine's noise hides it."""
    return (three - one) / 2 if three > one else three / 3


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def estimate_training(step: Callable[[], object], steps: int, batch_size: int, n_films: int, disk: float) -> Estimate:  # fmt: skip
    """Of a training whose ``step`` is one forward and backward pass of a batch; ``disk`` in bytes."""
    step()  # warms up
    began = time.perf_counter()
    step()
    step()
    seconds = (time.perf_counter() - began) / 2
    return Estimate(n_films, steps * batch_size, steps * seconds / 3600, disk / 1e9)


def estimate_classifier(config, n_films: int, n_outputs: int, device: str, autoencoder=None) -> Estimate:
    """Of ``synthorax train classifier``: one batch of noise and three are learned and thrown away; latents are encoded once."""
    from synthorax.classifiers.backbones import backbone_named
    from synthorax.classifiers.latents import latents_of
    from synthorax.classifiers.training import train

    size = config.image_size_px or backbone_named(config.backbone).image_size_px
    rng = np.random.default_rng(0)

    def batches(count: int) -> float:
        films = rng.integers(0, 256, (count * config.batch_size, size, size), dtype=np.uint8)
        begun = time.perf_counter()
        targets = rng.integers(0, 2, (len(films), n_outputs)).astype(np.float32)
        inputs = films if autoencoder is None else latents_of(films, autoencoder, size)
        encoded.append((time.perf_counter() - begun) / len(films))
        began = time.perf_counter()
        found = train(replace(config, epochs=1, pretrained=False), inputs, targets, [f"{i}" for i in range(n_outputs)], device=device, autoencoder=autoencoder)  # fmt: skip
        n_weights.append(sum(p.numel() for p in found.network.parameters()))
        return time.perf_counter() - began

    n_weights: list[int] = []
    encoded: list[float] = []
    batches(1)  # warms up
    one, three = batches(1), batches(3)
    steps = config.epochs * -(-n_films // config.batch_size)
    seconds = steps * _each(one, three) + n_films * encoded[-1]
    return Estimate(n_films, steps * config.batch_size, seconds / 3600, 16 * n_weights[0] / 1e9)


def estimate_demo(scale: str, model, wheel: Path | None) -> Estimate:
    """Of ``synthorax demo``: patients, edits, whole films and trainings; measuring and the report come on top."""
    from synthorax.classifiers import TrainingConfig
    from synthorax.runs.demo import SCALES, SIZE
    from synthorax.runs.items import BATCH

    s = SCALES[scale]
    options = {"size": SIZE, "atlases": ["built-in"], "wheel": wheel, "workers": 2}
    once = estimate_cohort(s.n_validation + 2 * s.n_test, 0, options)
    often = [
        estimate_cohort(n, 0, {**options, "renderings": renderings})
        for n, renderings in ((s.n_train, 2), (s.reader_patients, 3))
    ]
    n_edits = 3 * s.n_per_type + s.n_sham
    training = TrainingConfig(epochs=s.epochs)
    parts = [
        once,
        *often,
        estimate_edits(n_edits, model, s.edit, BATCH, SIZE),
        estimate_films(s.n_whole_film, model, s.generate, BATCH),
        estimate_classifier(training, 2 * s.n_train, 5, "cpu"),
        estimate_classifier(training, 3 * s.reader_patients, 15, "cpu"),
    ]
    return reduce(add, parts)
