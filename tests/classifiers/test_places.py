"""Cells, the second head, and its loss."""

import numpy as np
import pytest
import torch

from synthorax.classifiers import TrainingConfig, train
from synthorax.classifiers.augmentation import N_DRAWS, Augmentation
from synthorax.classifiers.backbones import build_network
from synthorax.classifiers.places import cells_of, logits_and_cells, moved, place_head, place_loss
from synthorax.errors import InputError


def test_a_cell_counts_from_a_twentyfifth_on_and_films_are_padded_to_squares():
    masks = [np.zeros((64, 64), bool), np.zeros((64, 64), bool), np.zeros((64, 32), bool)]
    masks[0][20:24, 36:40] = True  # 16 of 256 px
    masks[1][20:23, 36:39] = True  # 9
    masks[2][:16, :16] = True  # stands 16 px further right in its square
    found = cells_of(masks, 64)
    assert [list(zip(*np.nonzero(cells), strict=True)) for cells in found] == [[(1, 2)], [], [(0, 1)]]


@pytest.mark.parametrize("name", ["small", "small_peaks", "resnet50"])
def test_the_logits_are_those_of_the_network_alone(name):
    network = build_network(name, 3, seed=0).eval()
    x = torch.rand(2, next(network.parameters()).shape[1], 64, 64)
    head = place_head(network, 3, seed=0)
    with torch.inference_mode():
        logits, cells = logits_and_cells(network, head, x)
        assert torch.equal(logits, network(x))
    assert cells.shape == (2, 3, 4, 4)
    assert torch.equal(head[0].weight, place_head(network, 3, seed=0)[0].weight)


def test_masks_move_with_their_films():
    masks = torch.zeros(1, 1, 4, 4)
    masks[0, 0, 1, 1] = 1
    draws = np.zeros((1, N_DRAWS))
    assert torch.equal(moved(masks, draws, Augmentation()), masks)
    draws[0, 1:3], draws[0, 4:] = (-1, 0), (1, -1)  # a quarter of the film across; contrast and brightness
    found = moved(masks, draws, Augmentation(shift_fraction=0.25))
    assert list(map(tuple, found.nonzero().tolist())) == [(0, 0, 1, 2)]


def test_loss_by_hand_unknown_labels_and_masks_of_absent_ones():
    """gamma 2, alpha 1/2: a cell of probability p costs 1/2 (1 - p)^2 (-log p) where it is covered."""
    cells = torch.zeros(1, 3, 2, 2, requires_grad=True)
    masks = torch.zeros(1, 3, 2, 2)
    masks[0, :, 0, 0] = 1
    targets = torch.tensor([[1.0, 0.0, float("nan")]])
    loss = place_loss(cells, masks, targets)
    assert loss.item() == pytest.approx(
        8 * 0.5 * 0.25 * np.log(2)
    )  # 4 cells of each known label, one covered
    loss.backward()
    gradient = cells.grad[0]
    assert gradient[0, 0, 0] < 0 < gradient[1, 0, 0] and (gradient[2] == 0).all()


def test_places_that_do_not_fit_are_refused():
    films, y = np.zeros((4, 64, 64), np.float32), np.zeros((4, 1))
    with pytest.raises(InputError, match=r"places of shape \(4, 1, 8, 8\); expected \(4, 1, 4, 4\)"):
        train(TrainingConfig(image_size_px=64), films, y, ["a"], places=np.zeros((4, 1, 8, 8), bool))
