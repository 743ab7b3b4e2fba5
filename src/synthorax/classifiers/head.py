"""Head-only adaptation (CARS section 2): the last layer is trained on new films, all before it stays.

The backbone is frozen and in evaluation mode, so a film's features never change: they are computed once, and
training the last layer is logistic regression on them, seconds on a CPU. That also means that no augmentation
is applied.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from synthorax.classifiers.classifier import Classifier
from synthorax.classifiers.loading import Films
from synthorax.classifiers.loss import masked_bce, positive_weights_of
from synthorax.classifiers.training import (
    batches_of_epoch,
    checked_targets,
    fingerprint,
    finish,
    learning_rate_at,
    load_finished,
)


@dataclass(frozen=True)
class HeadConfig:
    """How to train the last layer. CARS: 5 epochs on 8,000 films, the other values not restated.

    On few films five epochs at 3e-4 hardly move the layer: the step count decides, so raise ``epochs`` or
    ``learning_rate``.
    """

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    warmup_fraction: float = 0.1
    maximum_positive_weight: float = 20.0
    seed: int = 0


def finetune_head(
    classifier: Classifier,
    films: Films,
    targets: np.ndarray,
    config: HeadConfig | None = None,
    *,
    validation: tuple[Films, np.ndarray] | None = None,
    out: Path | str | None = None,
    note: str = "",
) -> Classifier:
    """A new classifier whose last layer went on training on these films; the given one stays as it is.

    Args:
        classifier: where to start.
        films, targets: as in :func:`~synthorax.classifiers.training.train`; labels in the classifier's order.
        config: how.
        validation: films (real ones, say) and targets for new thresholds; without them there are none.
        out: folder for the result; a finished one there is loaded.
        note: what the films are.

    Raises:
        InputError: films and targets do not fit.
        RunError: ``out`` holds another classifier.
    """
    import torch

    config = config or HeadConfig()
    targets = checked_targets(films, targets, classifier.labels)
    features = classifier.features(films)
    layer = classifier.network.get_classifier()
    weight, bias = (x.detach().cpu().numpy() for x in (layer.weight, layer.bias))
    identity = fingerprint(asdict(config), classifier.labels, features, targets, weight, bias)
    if out is not None and (finished := load_finished(out, identity, classifier.device)):
        return finished
    weight, bias = fit_head(features, targets, weight, bias, config)
    network = copy.deepcopy(classifier.network)
    with torch.no_grad():
        network.get_classifier().weight.copy_(torch.from_numpy(weight))
        network.get_classifier().bias.copy_(torch.from_numpy(bias))
    training = {
        "note": note,
        "head_config": asdict(config),
        "n_films": len(targets),
        "n_positive": (targets == 1).sum(0).tolist(),
        "n_unknown": np.isnan(targets).sum(0).tolist(),
        "before": dict(classifier.record.training),
        "fingerprint": identity,
    }
    record = replace(classifier.record, seed=config.seed, thresholds=None, training=training)
    return finish(Classifier(network, record, classifier.device), validation, out)


def fit_head(
    features: np.ndarray, targets: np.ndarray, weight: np.ndarray, bias: np.ndarray, config: HeadConfig
) -> Sequence[np.ndarray]:
    """Logistic regression on fixed features, by AdamW from the given start.

    Args:
        features: ``(N, F)``.
        targets: ``(N, L)`` 0, 1 or NaN.
        weight: ``(L, F)``; bias: ``(L,)``.
        config: how.

    Returns:
        New weight and bias, float32.
    """
    import torch

    x, y = torch.from_numpy(features), torch.from_numpy(targets)
    v = torch.from_numpy(positive_weights_of(targets, config.maximum_positive_weight)).float()
    w, b = (torch.from_numpy(start.copy()).requires_grad_() for start in (weight, bias))
    optimizer = torch.optim.AdamW([w, b], lr=config.learning_rate, weight_decay=config.weight_decay)
    epochs = [
        batches_of_epoch(len(x), config.batch_size, "head", config.seed, epoch)
        for epoch in range(config.epochs)
    ]
    batches = [rows for epoch in epochs for rows in epoch]
    for step, rows in enumerate(batches):
        optimizer.param_groups[0]["lr"] = learning_rate_at(
            step, len(batches), config.learning_rate, config.warmup_fraction
        )
        loss = masked_bce(x[rows] @ w.T + b, y[rows], v)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return w.detach().numpy(), b.detach().numpy()
