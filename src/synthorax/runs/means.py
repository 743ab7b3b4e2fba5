"""What a command that makes images works with: model, device, batches, shard, replicas."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthorax.runs.items import BATCH, ONE, Batches, Shard, in_turn

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Means:
    """What a command works with; nothing here changes an image, beyond what kernels round differently.

    Attributes:
        model: a pipeline folder or repo id; None is the embedded model.
        device: a torch device.
        dtype: see :func:`synthorax.diffusion.load_model`.
        batch_size: images at a time, halved where the memory does not suffice.
        shard: the part of the work that this process does.
        limit: at most so many images; of the main job, films.
        is_offline: never ask the hub for a model.
        ray: where replicas of the model work, see :class:`synthorax.runs.on_ray.Replicas`; None is this process.
    """

    model: str | None = None
    device: str = "cpu"
    dtype: str = "auto"
    batch_size: int = BATCH
    shard: Shard = ONE
    limit: int | None = None
    is_offline: bool = False
    ray: str | None = None

    def load_model(self) -> "DiffusionModel":
        """The model, on the device."""
        if self.is_offline:
            os.environ["HF_HUB_OFFLINE"] = "1"
        from synthorax.diffusion import load_model

        return load_model(self.model, device=self.device, dtype=self.dtype)

    @contextmanager
    def at_work(self) -> Iterator[tuple["DiffusionModel", Batches]]:
        """The model (on Ray without its weights), and who makes the batches."""
        if self.ray is None:
            yield self.load_model(), in_turn
            return
        from synthorax.runs.on_ray import Replicas

        with Replicas(self.ray, self.load_model, self.device) as replicas:
            yield replicas.model, replicas.batches


#: The embedded model in this process.
DEFAULT = Means()
