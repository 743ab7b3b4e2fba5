"""Grad-CAM (Selvaraju et al. 2017): where on a film a classifier's output rests.

    alpha_k = mean over (i, j) of d y_c / d A_k,ij            L = ReLU(sum over k of alpha_k A_k)

    y_c     output c before its sigmoid
    A_k     map k of the last layer that still has maps, (h, w)
    L       the attribution map, (h, w)

For a network that ends in mean pooling and one linear layer, L is ReLU(sum of w_ck A_k) / (h w), which a test checks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from synthorax.classifiers.classifier import Classifier, normalise
from synthorax.classifiers.loading import Films, load_films
from synthorax.errors import ModelError

if TYPE_CHECKING:
    import torch

FILMS_AT_ONCE = 16


def gradcam(classifier: Classifier, films: Films, outputs: Sequence[int]) -> np.ndarray:
    """Attribution maps ``(N, h, w)`` float32, >= 0; all 0 where nothing speaks for the output.

    Args:
        classifier: any whose network ends in maps.
        films: ``(N, H, W)``, float in [0, 1] or uint8, or paths.
        outputs: ``(N,)`` the output that each film is asked about.

    Raises:
        ModelError: the network has no maps, as a transformer's tokens.
    """
    import torch

    found = []
    chosen = torch.as_tensor(list(outputs))
    for start in range(0, len(films), FILMS_AT_ONCE):
        rows = slice(start, start + FILMS_AT_ONCE)
        pixels = torch.from_numpy(load_films(films[rows], classifier.record.image_size_px)).to(
            classifier.device
        )
        x = normalise(pixels, classifier.record.mean, classifier.record.std).requires_grad_()
        with _last_maps(classifier.network) as maps:
            logits = classifier.network(x)
        if not maps:
            raise ModelError(
                f"{classifier.record.backbone} has no layer with maps (N, C, h, w), which Grad-CAM needs; give a "
                "convolutional network."
            )
        a = maps[-1]
        y = logits.gather(1, chosen[rows, None].to(logits.device)).sum()
        alpha = torch.autograd.grad(y, a)[0].mean((2, 3), keepdim=True)
        found.append((alpha * a).sum(1).relu().detach().float().cpu().numpy())
    return np.concatenate(found)


@contextmanager
def _last_maps(network: "torch.nn.Module") -> Iterator[list["torch.Tensor"]]:
    """What the layers with maps return while the network runs, the last one last."""
    import torch

    maps: list[torch.Tensor] = []

    def keep(module, given, returned) -> None:
        if isinstance(returned, torch.Tensor) and returned.ndim == 4 and min(returned.shape[2:]) > 1:
            maps[:] = [returned]

    hooks = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
