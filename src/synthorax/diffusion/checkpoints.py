"""Training state on disk: a run killed at any moment goes on from its last checkpoint to the same weights."""

import csv
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from synthorax.errors import RunError
from synthorax.files import atomic


class Trainer:
    """The state that every training loop here shares: weights, their moving average, optimiser, step.

    Learning rate: linear warm-up, then cosine to zero at ``steps``. Gradients are clipped to norm ``clip``.
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
    ):
        self.module, self.out, self.config_json, self.steps, self.lr, self.warmup, self.ema, self.clip = (
            module, out, config_json, steps, lr, warmup, ema, clip)  # fmt: skip
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
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress))))

    def update(self, losses: Iterable[torch.Tensor], count: int = 1) -> tuple[float, float]:
        """One optimiser step on the mean of ``count`` losses; returns it, and the gradient's norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        total = 0.0
        for loss in losses:
            (loss / count).backward()
            total += loss.item() / count
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.clip, error_if_nonfinite=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        decay = min(self.ema, (1 + self.step) / (10 + self.step))
        parameters = [p.detach() for name, p in self.module.named_parameters() if name in self.average]
        torch._foreach_lerp_(list(self.average.values()), parameters, 1 - decay)
        self.step += 1
        return total, float(norm)

    def log(self, **values: float) -> None:
        """Append one row to ``log.csv``."""
        path = self.out / "log.csv"
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", *values])
            writer.writerow([self.step, *(f"{value:.6g}" for value in values.values())])

    def save(self) -> None:
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
        if not self.path.is_file():
            return
        state = torch.load(self.path, weights_only=True)
        if state["config"] != self.config_json:
            raise RunError(
                f"{self.out} was trained with another config. Give another --out, or the config it began with."
            )
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.step = state["average"], state["step"]

    def averaged(self) -> nn.Module:
        """The module with the moving average as its weights (the module itself, changed)."""
        with torch.no_grad():
            for name, p in self.module.named_parameters():
                if name in self.average:
                    p.copy_(self.average[name])
        return self.module.eval()
