"""Teach a text-conditioned diffusion model what is preferred: pairs of films of one prompt, after Wallace et al. 2024.

| variable | symbol | meaning |
| --- | --- | --- |
| x0_w, x0_l | x_0^w, x_0^l | latents of the preferred and the rejected film |
| e_w, e_l | squared error of the prediction | at one timestep t and noise eps, the same for both films and both models |
| h_w, h_l | log(p_theta / p_ref) | stands for a likelihood that diffusion models do not give: (e_ref - e_theta) / 2, equation 14 without T omega, which beta holds |
| beta | beta T omega | how strongly the frozen model holds back; 2000 in the paper, for errors of epsilon |

The errors are weighted as in training (min-SNR), so that predictions of epsilon and of v learn alike.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from synthorax.dataset import read_png
from synthorax.diffusion import preference_losses
from synthorax.diffusion.checkpoints import Trainer
from synthorax.diffusion.denoising import embed, errors, prediction_of
from synthorax.diffusion.model import DiffusionModel, load_model
from synthorax.diffusion.processes import join
from synthorax.diffusion.train_diffusion import add_lora, write_pipeline
from synthorax.errors import InputError, ModelError
from synthorax.seeds import derive_seed, generator

#: Of a table of pairs: the prompt as the model is given it, and two films, absolute or beside the table.
PAIRS = {"prompt": pl.String, "chosen": pl.String, "rejected": pl.String}


class AlignmentConfig(BaseModel):
    """Settings of one alignment. Strength: ``beta`` (larger = nearer to the start), ``steps``, ``lr``, ``lora_rank``.

    Attributes:
        start: a pipeline folder or repo id; None is the embedded model.
        loss: of :data:`~.preference_losses.OF_FILMS`.
        beta: see above.
        lora_rank: train low-rank updates of the attention alone; 0 trains the whole U-Net. The text encoder is kept.
        batch_size: pairs; each is two films, seen by two models.
        snr_gamma: as in :class:`~.train_diffusion.DiffusionConfig`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str | None = None
    loss: Literal["dpo", "ipo", "kto"] = "dpo"
    beta: float = Field(default=2000.0, gt=0)
    lora_rank: int = Field(default=0, ge=0)
    steps: int = 300
    batch_size: int = 8
    lr: float = 2e-5
    warmup: int = 20
    ema: float = 0.99
    snr_gamma: float | None = 5.0
    checkpoint_every: int = 50
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """prompts: one a pair; x0_w, x0_l: ``(N, C, h, w)`` latents of the preferred and the rejected films."""

    prompts: tuple[str, ...]
    x0_w: Tensor
    x0_l: Tensor


def read_pairs(path: Path, model: DiffusionModel) -> Pairs:
    """Read a table of :data:`PAIRS` and encode its films.

    Raises:
        InputError: no table, a column or a film missing, or a film of another size.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a table of pairs, as `synthorax rank` writes.")
    table = pl.read_parquet(path)
    missing = [name for name in PAIRS if name not in table.columns]
    if missing or table.is_empty():
        raise InputError(
            f"{path} has {f'no column {missing[0]!r}' if missing else 'no rows'}; expected pairs with {', '.join(PAIRS)}."
        )

    def latents(column: str) -> Tensor:
        rows = []
        for start in range(0, table.height, 32):
            films = []
            for name in table[column][start : start + 32]:
                film = read_png(path.parent / name)
                if film.shape != (model.image_size, model.image_size):
                    raise InputError(
                        f"{path}: {name} is {film.shape[1]} x {film.shape[0]} px; {model.model_id} makes {model.image_size} px."
                    )
                films.append(film)
            rows.append(model.encode(torch.from_numpy(np.stack(films).astype(np.float32))).cpu())
        return torch.cat(rows)

    return Pairs(tuple(table["prompt"]), latents("chosen"), latents("rejected"))


def train_alignment(config: AlignmentConfig, pairs: Path, out: Path, device: str = "auto") -> Path:
    """Align a model, or go on aligning it, and write ``out/pipeline``.

    Args:
        config: settings.
        pairs: a table, see :func:`read_pairs`.
        out: the run folder: checkpoint, log (``margin``: mean h_w - h_l; ``right``: share of pairs with a positive one; ``chosen``:
            mean h_w, below 0 where the preferred films too become less likely), result.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    Raises:
        InputError: see :func:`read_pairs`.
        ModelError: no such model, or one with a transformer.
        RunError: ``out`` holds another config's checkpoint.
    """
    place = join(device, config.batch_size)
    model = load_model(config.start, device=str(place))
    if model.null_text is not None:
        raise ModelError(f"{config.start} is a diffusion transformer; only pipelines with a U-Net are aligned here.")  # fmt: skip
    data = read_pairs(pairs, model)
    torch.manual_seed(derive_seed("alignment", config.seed))
    net, text = model.pipeline.unet, model.pipeline.text_encoder.requires_grad_(False)
    frozen = None if config.lora_rank else copy.deepcopy(net).requires_grad_(False)
    net.requires_grad_(not config.lora_rank)
    if config.lora_rank:
        add_lora(net, config.lora_rank)
    # eval() on both: dropout would part them where they are the same
    nets = nn.ModuleDict({"unet": net}).eval()
    trainer = Trainer(nets, out, config_json=config.model_dump_json(), steps=config.steps, lr=config.lr, warmup=config.warmup, ema=config.ema)  # fmt: skip
    loss = getattr(preference_losses, config.loss)
    for step in trainer.remaining("Aligning the diffusion model"):
        rng = generator("alignment", config.seed, step)
        rows = rng.integers(len(data.prompts), size=config.batch_size)
        chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
        h_w, h_l = _ratios(model, net, frozen, text, data, rows, chance, config.snr_gamma)
        value, norm = trainer.update([loss(h_w, h_l, config.beta).mean()])
        margin = (h_w - h_l).detach()
        trainer.log(loss=value, gradient_norm=norm, margin=float(margin.mean()), right=float((margin > 0).float().mean()), chosen=float(h_w.detach().mean()))  # fmt: skip
        if trainer.step % config.checkpoint_every == 0:
            trainer.save()
    trainer.save()
    if trainer.is_main:
        trainer.averaged()
        write_pipeline(model, out / "pipeline", bool(config.lora_rank))
    return out / "pipeline"


def _ratios(
    model: DiffusionModel, net: nn.Module, frozen: nn.Module | None, text: nn.Module, data: Pairs, rows: np.ndarray,
    chance: torch.Generator, gamma: float | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """h_w and h_l of some pairs, ``(B,)`` each; one t and one eps for both films of a pair."""
    x0 = torch.cat([data.x0_w[rows], data.x0_l[rows]])
    t = torch.randint(len(model.alphas_cumprod), (len(rows),), generator=chance).repeat(2)
    eps = torch.randn((len(rows), *x0.shape[1:]), generator=chance).repeat(2, 1, 1, 1)
    with torch.no_grad():
        embeddings = embed(model, text, [data.prompts[row] for row in rows]).repeat(2, 1, 1)
        with _without_updates(net, frozen) as reference:
            e_ref = errors(model, prediction_of(reference), embeddings, x0, t, eps, gamma)
    h = (e_ref - errors(model, prediction_of(net), embeddings, x0, t, eps, gamma)) / 2
    return h[: len(rows)], h[len(rows) :]


@contextmanager
def _without_updates(net: nn.Module, frozen: nn.Module | None) -> Iterator[nn.Module]:
    """The frozen model: a copy, or the network itself with its low-rank updates off."""
    if frozen is not None:
        yield frozen
        return
    net.disable_adapters()
    try:
        yield net
    finally:
        net.enable_adapters()
