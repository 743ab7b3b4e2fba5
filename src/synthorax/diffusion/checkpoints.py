"""Training state on disk: a run killed at any moment goes on from its last checkpoint to the same weights.

Several processes train as one (:mod:`synthorax.diffusion.processes`): they begin with the first one's weights and average
their gradients, so that each holds the same weights after each step; the first one writes.
"""

import csv
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, gather, reduce
from torch import nn

from synthorax.dataset import write_png
from synthorax.errors import RunError
from synthorax.files import atomic
from synthorax.progress import track


class Trainer:
    """The state that every training loop here shares: weights, their moving average, optimiser, step.

    Learning rate: linear warm-up, then cosine to zero at ``steps`` unless ``decay`` is False. Gradients are clipped to norm ``clip``.
    """

    def __init__(
        self,
        module: nn.Module,
        out: Path,
        *,
        config_json: str,
        steps: int,
        lr: float,
        warmup: int,
        ema: float,
        clip: float = 1.0,
        weight_decay: float = 0.01,
        decay: bool = True,
    ):
        self.module, self.out, self.config_json, self.steps, self.lr, self.warmup, self.ema, self.clip, self.decay = (
            module, out, config_json, steps, lr, warmup, ema, clip, decay)  # fmt: skip
        self.processes = PartialState()
        self.is_main = self.processes.is_main_process
        self.device = next(module.parameters()).device
        if self.processes.num_processes > 1:
            for value in module.state_dict().values():
                value.copy_(broadcast(value.contiguous()))
        self.optimizer = torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=lr,
            betas=(0.9, 0.99),
            weight_decay=weight_decay,
            fused=True,
        )
        self.average = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}
        self.step = 0
        out.mkdir(parents=True, exist_ok=True)
        self._resume()

    @property
    def path(self) -> Path:
        return self.out / "state.pt"

    def learning_rate(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if not self.decay:
            return self.lr
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress))))

    def run(
        self,
        losses: Callable[[int], Iterable[torch.Tensor]],
        description: str,
        *,
        accumulate: int,
        checkpoint_every: int,
        preview_every: int,
        preview: Callable[[], np.ndarray],
    ) -> None:
        """The steps to go, with checkpoints and pictures; at the end the module holds the averaged weights.

        Args:
            losses: a step's number -> its ``accumulate`` losses.
            description: of the bar.
            accumulate: batches whose gradients make one step.
            checkpoint_every: steps between checkpoints.
            preview_every: steps between pictures; 0 draws none, at the end either.
            preview: draws one with the module's weights.
        """
        self.module.train()
        for step in self.remaining(description):
            loss, norm = self.update(losses(step), accumulate)
            self.log(loss=loss, gradient_norm=norm)
            if self.step % checkpoint_every == 0:
                self.save()
            if self.is_main and preview_every and self.step % preview_every == 0 and self.step < self.steps:
                weights = {name: p.detach().clone() for name, p in self.module.named_parameters()}
                self.averaged()
                self.picture(f"preview-{self.step:06d}.png", preview())
                self.module.load_state_dict(weights, strict=False)
                self.module.train()
        self.save()
        if self.is_main:
            self.averaged()
            if preview_every:
                self.picture("preview.png", preview())

    def remaining(self, description: str) -> Iterable[int]:
        """The steps to go, with one bar for all processes."""
        steps = range(self.step, self.steps)
        return track(steps, description, unit="steps") if self.is_main else steps

    def update(self, losses: Iterable[torch.Tensor], count: int = 1) -> tuple[float, float]:
        """One optimiser step on the mean of ``count`` losses and over the processes.

        Returns:
            the mean of this process's losses, and the norm of the averaged gradient before clipping.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        total = 0.0
        for loss in losses:
            (loss / count).backward()
            total += loss.item() / count
        if self.processes.num_processes > 1:
            for p in self.module.parameters():
                if p.grad is not None:
                    p.grad.copy_(reduce(p.grad.contiguous(), "mean"))
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.clip, error_if_nonfinite=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        decay = min(self.ema, (1 + self.step) / (10 + self.step))
        parameters = [p.detach() for name, p in self.module.named_parameters() if name in self.average]
        torch._foreach_lerp_(list(self.average.values()), parameters, 1 - decay)
        self.step += 1
        return total, float(norm)

    def log(self, **values: float) -> None:
        """Each 50th step and the last: a row, averaged over the processes (all call this), in ``log.csv`` and TensorBoard."""
        if self.step % 50 and self.step != self.steps:
            return
        mine = torch.tensor([*values.values()], dtype=torch.float64, device=self.device)
        values = dict(zip(values, reduce(mine, "mean").tolist(), strict=True))
        if not self.is_main:
            return
        path = self.out / "log.csv"
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", *values])
            writer.writerow([self.step, *(f"{value:.6g}" for value in values.values())])
        if self.board:
            for name, value in values.items():
                self.board.add_scalar(name, value, self.step)

    def picture(self, name: str, pixels: np.ndarray) -> None:
        """Write a synthetic picture, float ``(H, W)`` in [0, 1], as ``name``, and show it in TensorBoard."""
        write_png(pixels, self.out / name, Synthetic="YES")
        if self.board:
            self.board.add_image("preview", pixels[None], self.step)

    @cached_property
    def board(self) -> Any:
        """A writer to ``tensorboard/``, where the package is installed; else None."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        return SummaryWriter(self.out / "tensorboard", purge_step=self.step)

    def save(self) -> None:
        if not self.is_main:
            return
        if self.board:
            self.board.flush()
        state = {
            "config": self.config_json,
            "step": self.step,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
        }
        with atomic(self.path) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        if self.path.is_file():
            self._load()
        steps = gather(torch.tensor([self.step], device=self.device)).tolist()
        if len({*steps}) > 1:
            raise RunError(
                f"{self.out} is at step {', '.join(map(str, steps))} for one process and another; "
                "give an --out that all machines share."
            )

    def _load(self) -> None:
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        if state["config"] != self.config_json:
            raise RunError(
                f"{self.out} was trained with another config. Give another --out, or the config it began with."
            )
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in self.average.items():
            value.copy_(state["average"][name])
        self.step = state["step"]

    def averaged(self) -> nn.Module:
        """The module with the moving average as its weights (the module itself, changed)."""
        with torch.no_grad():
            for name, p in self.module.named_parameters():
                if name in self.average:
                    p.copy_(self.average[name])
        return self.module.eval()
