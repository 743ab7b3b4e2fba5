"""Train a ControlNet for masks and boxes on a frozen model (Zhang et al. 2023; ChexGen's third stage).

| variable | meaning |
| --- | --- |
| x_t, t, eps | as in ``train_diffusion``, whose loss this is |
| condition | latents of a film's annotation (``control.py``); of its masks, of its boxes, or of an empty picture |

What teaches are virtual patients, whose masks are exact: a manifest's ``findings.parquet`` names them. Boxes are those of
the same table.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from accelerate import PartialState
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from synthorax.dataset import read_png
from synthorax.diffusion.annotations import Annotation, draw, palette
from synthorax.diffusion.captions import captions, without_withheld
from synthorax.diffusion.checkpoints import Trainer
from synthorax.diffusion.control import Control, new_control
from synthorax.diffusion.denoising import Predict, denoising_loss, embed, texts_of
from synthorax.diffusion.films import Films, FilmsConfig, gather
from synthorax.diffusion.model import DiffusionModel, quiet
from synthorax.diffusion.new_models import start_model
from synthorax.diffusion.processes import join, own_rows
from synthorax.diffusion.sampling import sample
from synthorax.diffusion.train_diffusion import film_latents
from synthorax.errors import InputError
from synthorax.files import atomic
from synthorax.phantom.findings import CONCEPTS, INCIDENTAL
from synthorax.phantom.truth import Box
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator

#: Of each film: the picture of its masks, and that of its boxes.
VARIANTS = ("masks", "boxes")
N_PREVIEW = 6


class ControlConfig(BaseModel):
    """Settings of one training; ``recipes/embedded-control.yaml`` holds the embedded model's.

    Attributes:
        start: a pipeline folder or repo id, which stays as it is; None is the embedded model.
        classes: findings that get a colour, in the palette's order; others are left out of the picture.
        boxes_fraction: share of films whose boxes are shown, not their masks.
        annotation_dropout: share of films with an empty picture: there the prompt alone decides.
        condition_dropout: share of captions that are dropped, as in ``DiffusionConfig``; half of them make the annotation
            say what is where (Zhang et al. 2023, section 3.3).
        accumulate: batches whose gradients make one step.
        snr_gamma: as in ``DiffusionConfig``; None, since a film's layout is settled at the noisiest steps, which it weighs less.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    films: FilmsConfig = FilmsConfig(real_fraction=0.0)
    start: str | None = None
    classes: tuple[str, ...] = (*CONCEPTS, *INCIDENTAL)
    boxes_fraction: float = Field(default=0.3, ge=0, le=1)
    annotation_dropout: float = Field(default=0.1, ge=0, le=1)
    steps: int = 6000
    batch_size: int = 16
    accumulate: int = Field(default=1, ge=1)
    lr: float = 1e-4
    warmup: int = 200
    ema: float = 0.999
    condition_dropout: float = 0.5
    snr_gamma: float | None = None
    checkpoint_every: int = 250
    preview_every: int = 1000
    seed: int = 0


def train_control(config: ControlConfig, manifests: Sequence[Path], out: Path, device: str = "auto") -> Path:
    """Train, or go on training, and write ``out/control`` (a diffusers ControlNet folder with ``card.json``, fp16).

    Args:
        config: settings.
        manifests: ``studies.parquet`` files of virtual cohorts, each beside its ``findings.parquet``.
        out: the run folder: checkpoint, log, previews, caches, result.
        device: as for :func:`synthorax.diffusion.train_diffusion.train_diffusion`.

    Raises:
        InputError: a manifest without findings, films of a size that the model does not take, no such device, or a
            ``batch_size`` that the processes cannot share equally.
        ModelError: no model there, or one with a transformer.
        RunError: ``out`` holds a checkpoint of another config.
    """
    place, processes = join(device, config.batch_size), PartialState()
    found = pl.concat([findings_beside(path) for path in manifests])
    said = captions(manifests)
    model = start_model(config.start, config.films.size, place)
    with processes.main_process_first():
        films = gather(manifests, config.films, out / "films")
        latents = film_latents(films, model, out / "films" / "latents.npy")
    torch.manual_seed(derive_seed("control", config.seed))
    control = new_control(model)
    if place.type == "cpu":  # where plain products train faster than the fused kernel
        control.net.set_default_attn_processor()
    with processes.main_process_first():
        shown = _conditions(films, found, config, model, control, out / "films" / "annotations.npy")
    films = without_withheld(films, said)
    # A film without an annotation teaches the net nothing that annotation_dropout does not.
    is_bare = ~np.isin(films.image_ids, found.filter(pl.col("finding").is_in(config.classes))["image_id"])
    films = replace(films, is_held_out=films.is_held_out | is_bare)
    trainer = Trainer(
        control.net,
        out,
        config_json=config.model_dump_json(),
        steps=config.steps,
        lr=config.lr,
        warmup=config.warmup,
        ema=config.ema,
    )
    embedded = partial(embed, model, model.pipeline.text_encoder)
    empty = shown[len(films.image_ids), 0]

    def losses(step: int) -> Iterator[Tensor]:
        for part in range(config.accumulate):
            rng = generator("control", config.seed, step, *([part] if part else []))
            index = films.draw(rng, config.batch_size, config.films)
            texts = texts_of(films, index, said, model, rng, config.condition_dropout)
            of_boxes = (rng.random(len(index)) < config.boxes_fraction).astype(int)
            conditions = shown[index, of_boxes]
            conditions[rng.random(len(index)) < config.annotation_dropout] = empty
            condition = torch.from_numpy(conditions[own_rows(len(index))].astype(np.float32)).to(place)
            predict = _predict(model, control, condition)
            yield denoising_loss(model, predict, embedded, latents[index], texts, rng, config.snr_gamma)

    def picture() -> np.ndarray:
        return preview(model, control, films, found, config)

    trainer.run(
        losses,
        "Training the ControlNet",
        accumulate=config.accumulate,
        checkpoint_every=config.checkpoint_every,
        preview_every=config.preview_every,
        preview=picture,
    )
    if trainer.is_main:
        export_control(control, model, config, out / "control")
    processes.wait_for_everyone()
    return out / "control"


def trial_step(config: ControlConfig, device: str = "auto") -> tuple[Callable[[], object], int]:
    """One forward and backward pass of a batch of noise, to be timed, and how many weights a checkpoint holds."""
    model = start_model(config.start, config.films.size, join(device, config.batch_size))
    control = new_control(model)
    rng = generator("trial")
    latents = rng.standard_normal((config.batch_size, *model.latent_shape))
    n_channels = control.net.config.conditioning_channels
    condition = torch.randn(config.batch_size, n_channels, *model.latent_shape[1:], device=model.device)

    def step() -> float:
        predict = _predict(model, control, condition)
        embedded = partial(embed, model, model.pipeline.text_encoder)
        loss = denoising_loss(model, predict, embedded, latents, [""] * len(latents), rng, config.snr_gamma)
        loss.backward()
        return loss.item()  # waits for a GPU

    return step, sum(p.numel() for p in control.net.parameters())


def _predict(model: DiffusionModel, control: Control, condition: Tensor) -> Predict:
    def predict(x_t: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        more = control.residuals(x_t, t, embeddings, condition)
        return model.network(x_t, t, encoder_hidden_states=embeddings, return_dict=False, **more)[0]

    return predict


def export_control(control: Control, model: DiffusionModel, config: ControlConfig, out: Path) -> Path:
    """Write the net as diffusers does, fp16, and the classes' colours, size and backbone in ``card.json``."""
    from diffusers import ControlNetModel

    half = ControlNetModel.from_config(control.net.config)
    half.load_state_dict(control.net.state_dict())
    with quiet():
        half.to(torch.float16).save_pretrained(out)
    card = {
        "classes": palette(config.classes),
        "is_guiding": True,
        "model_id": model.model_id,
        "model_sha256": model.model_sha256,
        "notes": ["Learned from virtual patients, whose masks are exact; nothing is known about its work on real films."],
    }  # fmt: skip
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return out


def findings_beside(manifest: Path) -> pl.DataFrame:
    """``image_id, finding, boxes, mask_file_name`` (whole paths) of a cohort.

    Raises:
        InputError: no table of findings beside the manifest.
    """
    path = manifest.parent / "findings.parquet"
    if not path.is_file():
        raise InputError(
            f"{manifest} has no findings.parquet beside it; control learns from masks: give the studies.parquet of "
            "'synthorax phantom sample'."
        )
    table = pl.read_parquet(path, columns=["image_id", "finding", "boxes", "mask_file_name"])
    return table.with_columns(pl.format(f"{manifest.parent}/{{}}", "mask_file_name").alias("mask_file_name"))


def annotations_of(found: pl.DataFrame, classes: Sequence[str], size: int) -> dict[str, Annotation]:
    """``image_id`` -> masks and boxes of its findings of these classes; what is hidden altogether is left out."""
    masks: dict[str, dict[str, np.ndarray]] = {}
    boxes: dict[str, list[tuple[str, Box]]] = {}
    rows = found.filter(pl.col("finding").is_in(classes)).to_dicts()
    for row in track(rows, "Reading masks"):
        mask = read_png(row["mask_file_name"]) > 0.5
        scale = size / len(mask)
        if scale != 1:
            mask = np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
        if not mask.any():
            continue
        masks.setdefault(row["image_id"], {})[row["finding"]] = mask
        boxes.setdefault(row["image_id"], []).extend(
            (row["finding"], Box(*(round(scale * value) for value in box.values()))) for box in row["boxes"]
        )
    return {image_id: Annotation(masks[image_id], boxes[image_id]) for image_id in masks}


def _conditions(
    films: Films,
    found: pl.DataFrame,
    config: ControlConfig,
    model: DiffusionModel,
    control: Control,
    path: Path,
) -> np.ndarray:
    """fp16 ``(N + 1, 2, C, h, w)``: of each film its :data:`VARIANTS`, and last the empty picture; drawn once."""
    stamp, key = path.with_suffix(".json"), json.dumps([*config.classes])
    latents = path.parent / "latents.npy"
    is_there = path.is_file() and stamp.is_file() and stamp.read_text() == key
    if not is_there or path.stat().st_mtime < latents.stat().st_mtime:
        size, colours = config.films.size, palette(config.classes)
        of = annotations_of(found, config.classes, size)
        shape = (control.net.config.conditioning_channels, *model.latent_shape[1:])
        with atomic(path) as temporary:
            rows = np.lib.format.open_memmap(
                temporary, "w+", np.float16, (len(films.image_ids) + 1, len(VARIANTS), *shape)
            )
            rows[-1] = control.condition(model, np.zeros((1, size, size, 3), np.uint8)).cpu().numpy()
            for i, image_id in enumerate(track(films.image_ids, "Encoding annotations")):
                if image_id not in of:
                    rows[i] = rows[-1]
                    continue
                pictures = np.stack([
                    draw(Annotation(masks=of[image_id].masks), colours, size),
                    draw(Annotation(boxes=of[image_id].boxes), colours, size),
                ])  # fmt: skip
                with torch.autocast(model.device.type, model.dtype, enabled=model.dtype != torch.float32):
                    rows[i] = control.condition(model, pictures).cpu().numpy()
            rows.flush()
        stamp.write_text(key)
    return np.load(path, mmap_mode="r")


def preview(
    model: DiffusionModel, control: Control, films: Films, found: pl.DataFrame, config: ControlConfig
) -> np.ndarray:
    """A sheet, float32 ``(H, W)`` in [0, 1]: annotations, films of their own seeds without and with control, and the
    films that the annotations are of."""
    size = config.films.size
    with_mask = found.filter(pl.col("finding").is_in(config.classes))["image_id"].unique(maintain_order=True)
    held_out = [
        i for i, apart in enumerate(films.is_held_out) if apart and films.image_ids[i] in set(with_mask)
    ]
    index = (held_out or [i for i, name in enumerate(films.image_ids) if name in set(with_mask)])[:N_PREVIEW]
    if not index:
        raise InputError("no film of the cohort shows a finding of the classes; sample more patients.")
    names = [films.image_ids[i] for i in index]
    of = annotations_of(found.filter(pl.col("image_id").is_in(names)), config.classes, size)
    pictures = np.stack(
        [
            draw(Annotation(masks=of.get(name, Annotation()).masks), palette(config.classes), size)
            for name in names
        ]
    )
    prompts = [model.domain(True)] * len(names)
    rows = [pictures.mean(-1) / 255]
    for one in (model, control.added_to(model).annotated(pictures)):
        rows.append(
            sample(one, prompts, range(len(prompts)), guidance_scale=1.0, num_inference_steps=25)
            .cpu()
            .numpy()
        )
    rows.append(films.pixels[index] / 255)
    return np.concatenate([np.concatenate(list(row), 1) for row in rows]).astype(np.float32)
