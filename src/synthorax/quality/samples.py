"""How good a model's films are as a set (ChexGen 'Quality'): near to real ones, true to the prompt, unlike each other.

Distances between sets are torchmetrics' on features that are given; they depend on the extractor, its size and the number
of films, which is why all three stand beside each figure, and why the same distance between two halves of the real films
stands there as the floor.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from synthorax.classifiers.statistics import Interval, bootstrap_interval, mean_interval
from synthorax.errors import InputError
from synthorax.quality.structure import pairwise_ssim

#: Films of a subset of the kernel distance, and subsets.
KID_SUBSET, KID_SUBSETS = 100, 100
#: Least side of a film for the five scales of MS-SSIM with its window of 11 px.
MS_SSIM_LEAST_PX = 176


def frechet_distance(real: np.ndarray, synthetic: np.ndarray) -> float:
    """FID on given features: ``|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2))`` (Heusel et al. 2017). Biased upwards for few films.

    Args:
        real: ``(N, F)``, N >= 2.
        synthetic: ``(M, F)``, M >= 2.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    return _distance(lambda given: FrechetInceptionDistance(given).set_dtype(_double()), real, synthetic)[0]


def kernel_distance(real: np.ndarray, synthetic: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """KID on given features: unbiased squared MMD with the cubic kernel ``(x.y / F + 1)^3`` (Binkowski et al. 2018).

    Args:
        real: ``(N, F)``.
        synthetic: ``(M, F)``.
        seed: of the subsets.

    Returns:
        Mean and deviation over :data:`KID_SUBSETS` subsets of :data:`KID_SUBSET` films, fewer where fewer exist.
    """
    import torch
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KID_SUBSET, len(real), len(synthetic))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save")
        torch.manual_seed(seed)
        mean, deviation = _distance(lambda given: KernelInceptionDistance(given, subsets=KID_SUBSETS, subset_size=size), real, synthetic)  # fmt: skip
    return mean, deviation


def factual_correctness(real: np.ndarray, synthetic: np.ndarray, patient_ids: Sequence[str]) -> Interval:
    """Pearson's r over the flattened ``N x L`` scores of real films and of those drawn from their reports (ChexGen).

    Args:
        real, synthetic: ``(N, L)`` in one order.
        patient_ids: ``(N,)``, for the interval.
    """

    def pearson(w: np.ndarray) -> np.ndarray:
        weight = np.repeat(w, real.shape[1], axis=-1)
        x, y = real.ravel(), synthetic.ravel()
        total = weight.sum(-1, keepdims=True)
        dx, dy = (v - (weight @ v)[:, None] / total for v in (x, y))
        return (weight * dx * dy).sum(-1) / np.sqrt((weight * dx**2).sum(-1) * (weight * dy**2).sum(-1))

    return bootstrap_interval(pearson, patient_ids)


def seed_similarity(films: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """SSIM and MS-SSIM between films of one prompt and different seeds, mean over prompts: lower = more diverse.

    Args:
        films: prompt -> ``(K, H, W)`` in [0, 1], two or more each; MS-SSIM is left out below :data:`MS_SSIM_LEAST_PX`.
    """
    found = {"SSIM": [pairwise_ssim(each) for each in films.values()]}
    if min(next(iter(films.values())).shape[1:]) >= MS_SSIM_LEAST_PX:
        found["MS-SSIM"] = [_ms_ssim(each) for each in films.values()]
    return {name: mean_interval(np.array(values), list(films)) for name, values in found.items()}


def feature_map(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """``(N, 2)``: t-SNE of ``(N, F)`` features, for eyes only: distances between clusters mean nothing."""
    from sklearn.manifold import TSNE

    if len(features) < 4:
        raise InputError(f"{len(features)} films; a map needs four at least.")
    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)


def ms_ssim_matrix(films: np.ndarray) -> np.ndarray:
    """``(K, K)`` MS-SSIM of each two of ``(K, H, W)`` films in [0, 1], sides of :data:`MS_SSIM_LEAST_PX` at least; 1 with itself."""
    from itertools import combinations

    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    x = torch.from_numpy(np.ascontiguousarray(films, dtype=np.float32))[:, None]
    found = np.eye(len(films))
    for i, j in combinations(range(len(films)), 2):
        found[i, j] = found[j, i] = float(ms_ssim(x[[i]], x[[j]], data_range=1.0))
    return found


def _ms_ssim(films: np.ndarray) -> float:
    return float(ms_ssim_matrix(films)[np.triu_indices(len(films), 1)].mean())


def _distance(metric, real: np.ndarray, synthetic: np.ndarray) -> tuple[float, float]:
    """A torchmetrics distance between sets, on features in place of images."""
    import torch

    if min(len(real), len(synthetic)) < 2 or real.shape[1:] != synthetic.shape[1:]:
        raise InputError(
            f"features have shapes {real.shape} and {synthetic.shape}; expected two sets (N, F) of one F, N >= 2."
        )

    class Given(torch.nn.Module):
        """Features as they are."""

        num_features = real.shape[1]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    measure = metric(Given())
    for features, is_real in ((real, True), (synthetic, False)):
        measure.update(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64)), real=is_real)
    found = measure.compute()
    mean, deviation = found if isinstance(found, tuple) else (found, 0.0)
    return float(mean), float(deviation)


def _double():
    import torch

    return torch.float64
