"""How simulated films differ from real ones, and whether a critic can tell them apart.

Everything looks at the inside of a film only (:func:`inside`), so that collimation, letters at the edge and black
borders decide nothing. A critic is trained on some patients and scores others; its AUROC is .5 where simulated films
cannot be told from real ones and 1 where they always can.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthorax import bfloat16
from synthorax.errors import InputError, unknown_choice
from synthorax.seeds import derive_seed, generator

#: What is cut off on each side of a film.
BORDER_FRACTION = 0.12
#: Ends of the bands of the power spectrum, cycles a pixel of a film of 512 px.
BAND_ENDS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
N_FOLDS = 3


def inside(films: np.ndarray) -> np.ndarray:
    """``(..., S, S)`` without :data:`BORDER_FRACTION` on each side."""
    cut = round(films.shape[-1] * BORDER_FRACTION)
    return films[..., cut : films.shape[-1] - cut, cut : films.shape[-1] - cut]


def radial_power(film: np.ndarray, ends: Sequence[float] = BAND_ENDS) -> np.ndarray:
    """Mean power of a film in rings of spatial frequency.

    The mean is taken off and a Hann window put on, scaled so that white noise of variance v has power v in every ring.

    Args:
        film: ``(S, S)``, any scale.
        ends: ``(B + 1,)`` rising, cycles a pixel; a ring holds its lower end and not its upper.

    Returns:
        ``(B,)``, squared units of the film; NaN for a ring without a frequency.
    """
    size = film.shape[-1]
    window = np.hanning(size)[:, None] * np.hanning(size)
    power = np.abs(np.fft.rfft2((film - film.mean()) * window)) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    ring = np.digitize(radius.ravel(), ends) - 1
    kept = (ring >= 0) & (ring < len(ends) - 1)
    bins = len(ends) - 1
    counts = np.bincount(ring[kept], minlength=bins)
    sums = np.bincount(ring[kept], power.ravel()[kept], minlength=bins)
    return np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)


def film_statistics(film: np.ndarray) -> dict[str, float]:
    """Grey levels, gradient and spectrum of the inside of a film.

    Args:
        film: ``(S, S)`` grey levels 0 to 255.

    Returns:
        Mean, deviation and percentiles in grey levels; mean gradient magnitude in grey levels a pixel; log10 of the
        power in each band of :data:`BAND_ENDS`, squared grey levels.
    """
    inner = inside(film).astype(np.float32)
    found = {"mean": inner.mean(), "sd": inner.std()}
    found |= {f"p{q}": np.percentile(inner, q) for q in (5, 50, 95)}
    found["gradient"] = np.hypot(*np.gradient(inner)).mean()
    bands = zip(BAND_ENDS, BAND_ENDS[1:], np.log10(radial_power(inner) + 1e-6), strict=False)
    found |= {f"log10 power {low}-{high}": power for low, high, power in bands}
    return {name: float(value) for name, value in found.items()}


def cohens_d(real: np.ndarray, simulated: np.ndarray) -> float:
    """Simulated mean minus real mean, in pooled standard deviations."""
    pooled = np.sqrt((real.var(ddof=1) + simulated.var(ddof=1)) / 2)
    return float((simulated.mean() - real.mean()) / pooled)


def correlations(films: np.ndarray) -> np.ndarray:
    """``(N, N)`` Pearson correlation between the pixels of each two of ``(N, H, W)`` films."""
    return np.corrcoef(films.reshape(len(films), -1))


def mean_correlation(matrix: np.ndarray, patient_ids: Sequence[str], w: np.ndarray) -> np.ndarray:
    """Mean of :func:`correlations` over pairs of different patients, ``(B,)`` for counts ``(B, N)`` of films."""
    patients = np.asarray(patient_ids)
    differ = (patients[:, None] != patients).astype(float)
    return ((w @ (matrix * differ)) * w).sum(1) / ((w @ differ) * w).sum(1)


def patient_folds(
    y: np.ndarray, patient_ids: Sequence[str], n_folds: int = N_FOLDS, seed: int = 0
) -> np.ndarray:
    """``(N,)`` fold of each film: no patient in two, and ``y`` alike in all.

    Raises:
        InputError: a kind of film has fewer patients than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    y, patients = np.asarray(y), np.asarray(patient_ids)
    fewest = min(len(set(patients[y == kind])) for kind in (0, 1))
    if fewest < n_folds:
        raise InputError(
            f"{fewest} patients of one kind cannot fill {n_folds} folds; expected one a fold at least. Add films."
        )
    fold = np.empty(len(y), int)
    cutter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for index, (_, rows) in enumerate(cutter.split(y, y, patients)):
        fold[rows] = index
    return fold


def table_critic(features: np.ndarray, y: np.ndarray, folds: np.ndarray, kind: str = "boosted") -> np.ndarray:
    """Scores ``(N,)`` of a critic that sees ``(N, F)`` features, each film scored by one that never saw its patient.

    Args:
        features: finite numbers.
        y: 1 simulated, 0 real.
        folds: of :func:`patient_folds`.
        kind: ``linear`` (logistic regression) or ``boosted`` (gradient-boosted trees).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    critics = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced")),
        "boosted": HistGradientBoostingClassifier(max_iter=100, random_state=0, early_stopping=False),
    }
    if kind not in critics:
        raise unknown_choice("kind", kind, critics)
    scores = np.empty(len(y))
    for fold in np.unique(folds):
        critic = critics[kind].fit(features[folds != fold], y[folds != fold])
        scores[folds == fold] = critic.decision_function(features[folds == fold])
    return scores


@dataclass(frozen=True)
class CriticConfig:
    """The network that is told to separate: ``classifiers``' ``small`` on standardised random crops.

    Each crop has its mean taken off and its deviation made one, so exposure is left to the critic of histograms.
    ``crop_fraction`` is of the inside's side.
    """

    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    crop_fraction: float = 0.75
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """``scores`` ``(N,)`` logits, high = simulated; ``maps`` ``(N, h, w)`` what each place adds: their mean is the score."""

    scores: np.ndarray
    maps: np.ndarray


def film_critic(
    films: np.ndarray, y: np.ndarray, folds: np.ndarray, config: CriticConfig | None = None
) -> Verdict:
    """Train a network a fold, and let it score the films of the other patients.

    The network ends in a mean over places and one linear layer, so it can score whole films although it is trained
    on crops, and each place's part of the score is exact (class activation maps, Zhou et al. 2016).

    Args:
        films: ``(N, S, S)`` uint8, whole; the inside is taken here.
        y: 1 simulated, 0 real; both kinds weigh the same.
        folds: of :func:`patient_folds`.
        config: how.
    """
    import torch

    from synthorax.classifiers.backbones import build_network

    config = config or CriticConfig()
    inner = torch.from_numpy(np.ascontiguousarray(inside(films)))
    scores, maps = np.empty(len(y), np.float32), None
    for fold in np.unique(folds):
        network = build_network("small", 1, seed=derive_seed("critic", config.seed, int(fold)))
        network.to(memory_format=torch.channels_last)
        _fit(network, inner, np.asarray(y), np.flatnonzero(folds != fold), config, int(fold))
        head = network.get_classifier()
        for rows in np.array_split(held := np.flatnonzero(folds == fold), max(1, len(held) // 32)):
            with torch.inference_mode():
                features = network.forward_features(_standardised(inner[rows]))
                part = torch.einsum("nchw,c->nhw", features, head.weight[0]) + head.bias
            maps = np.empty((len(y), *part.shape[1:]), np.float32) if maps is None else maps
            maps[rows], scores[rows] = part.numpy(), part.mean((1, 2)).numpy()
    assert maps is not None
    return Verdict(scores, maps)


def _fit(network, inner, y: np.ndarray, rows: np.ndarray, config: CriticConfig, fold: int) -> None:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from synthorax.classifiers.training import batches_of_epoch, learning_rate_at

    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    share = y[rows].mean()
    weight = torch.from_numpy(np.where(y == 1, 0.5 / share, 0.5 / (1 - share)).astype(np.float32))
    target, side = torch.from_numpy(y.astype(np.float32)), round(inner.shape[-1] * config.crop_fraction)
    n_steps = config.epochs * -(-len(rows) // config.batch_size)
    network.train()
    step = 0
    for epoch in range(config.epochs):
        rng = generator("crops", config.seed, fold, epoch)
        for batch in batches_of_epoch(len(rows), config.batch_size, "critic", config.seed, fold, epoch):
            films = rows[batch]
            corners = rng.integers(0, inner.shape[-1] - side + 1, (len(films), 2))
            crops = [
                inner[i, top : top + side, left : left + side]
                for i, (top, left) in zip(films, corners.tolist(), strict=True)
            ]
            x = _standardised(torch.stack(crops))
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16.is_fast("cpu")):
                logits = network(x)[:, 0]
            loss = binary_cross_entropy_with_logits(logits.float(), target[films], weight[films])
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, n_steps, config.learning_rate, 0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    with (
        torch.no_grad()
    ):  # the running means of so short a training lag behind: take them anew, on whole films
        for layer in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            layer.reset_running_stats()
            layer.momentum = None
        for films in np.array_split(rows, max(1, len(rows) // config.batch_size)):
            network.forward_features(_standardised(inner[films]))
    network.eval()


def _standardised(films):
    """``(B, H, W)`` uint8 to ``(B, 1, H, W)`` of mean 0 and deviation 1 each."""
    import torch

    x = films.float()
    x = (x - x.mean((1, 2), keepdim=True)) / (x.std((1, 2), keepdim=True) + 1)
    return x[:, None].contiguous(memory_format=torch.channels_last)
