"""Classifiers: networks that read findings from films, and figures with intervals that say how well.

``backbones``   which networks, and where their ImageNet weights come from
``classifier``  a trained network with its labels, its input's size and range, and its thresholds
``models``      a model of any make as what is tested; ``model_files`` opens timm's, TorchXRayVision's and ONNX
``training``    from films and labels to a classifier (``checkpoints``: stopped ones); ``head``: only its last layer anew
``metrics``     AUROC, AUPRC, F1, entropy, ECE, Brier, thresholds
``statistics``  bootstrap by patient, paired differences, DeLong, Wilcoxon over seeds
``evaluation``  the tables of CARS, for one model and for two
"""

from importlib import import_module

_HOME = {
    "BACKBONES": "backbones",
    "Classifier": "classifier",
    "TestedModel": "models",
    "TrainingConfig": "training",
    "train": "training",
    "HeadConfig": "head",
    "finetune_head": "head",
    "load_tested": "models",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "thresholds_of": "metrics",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
