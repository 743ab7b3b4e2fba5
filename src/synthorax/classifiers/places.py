"""Teach a network where a finding is, not only that it is: a second head that is there in training alone.

| symbol | meaning |
| --- | --- |
| m | masks on cells of 16 px, ``(B, L, S/16, S/16)``: the finding covers part of the cell |
| q | the second head's probability of each cell, from the features of strides 16 and 32 |

    loss = focal(q, m) / cells with m = 1        (Lin et al. 2017, gamma 2, alpha 1/2)

A finding of a few pixels moves one label in a film but a hundred cells, so it is learned from far fewer films.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from synthorax.classifiers.augmentation import Augmentation, augment
from synthorax.classifiers.loading import load_films

if TYPE_CHECKING:
    import torch
    from torch import nn

CELL_PX = 16
#: Share of a cell that a finding covers at least where it counts.
COVERED = 0.04


def cells_of(masks: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Masks bool ``(H, W)`` of one finding, a film each, on the cells of square films: bool ``(N, size / 16, size / 16)``."""
    n = size // CELL_PX
    squares = np.concatenate([load_films(mask[None].astype(np.uint8) * 255, size) for mask in masks])
    return (squares.reshape(-1, n, CELL_PX, n, CELL_PX) >= 128).mean((2, 4)) > COVERED


def place_head(network: "nn.Module", n_labels: int, seed: int) -> "nn.ModuleList":
    """Two 1 x 1 convolutions onto the last two stages of a network of timm's."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shallow, deep = (nn.Conv2d(stage["num_chs"], n_labels, 1) for stage in network.feature_info[-2:])
    nn.init.constant_(shallow.bias, -4.0)
    return nn.ModuleList([shallow, deep])


def logits_and_cells(
    network: "nn.Module", head: "nn.ModuleList", x: "torch.Tensor"
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """``(B, L)`` logits as the network gives them alone, and ``(B, L, S/16, S/16)`` of the cells."""
    from torch.nn import functional

    last, (shallow, deep) = network.forward_intermediates(x, indices=2)
    deep = functional.interpolate(head[1](deep), shallow.shape[-2:])
    return network.forward_head(last), head[0](shallow) + deep


def place_loss(cells: "torch.Tensor", masks: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """Over the cells of labels that are known (``targets`` not NaN); the masks of a label that is absent count as empty."""
    from torchvision.ops import sigmoid_focal_loss

    targets = targets[:, :, None, None]
    masks = masks * (targets == 1)
    loss = sigmoid_focal_loss(cells, masks, alpha=0.5, gamma=2.0)
    return (loss * ~targets.isnan()).sum() / masks.sum().clamp(min=1)


def moved(masks: "torch.Tensor", draws: np.ndarray, amounts: Augmentation) -> "torch.Tensor":
    """The masks of films that :func:`~.augmentation.augment` moved, ``(B, L, c, c)`` 0 or 1."""
    from torch.nn import functional

    moves = replace(amounts, contrast_fraction=0.0, brightness_fraction=0.0)
    large = augment(functional.interpolate(masks, scale_factor=4), draws, moves)
    return functional.adaptive_max_pool2d(large, masks.shape[-2:]).round()
