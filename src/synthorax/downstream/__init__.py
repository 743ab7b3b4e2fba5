"""Downstream tasks: where a finding is, round what, and how much of it there is; models from annotated films.

``annotated``  films with masks and boxes by class, from a manifest or a synthetic dataset
``fitting``    the loop that all trainings share, resumable
``trained``    a network with its record, in a folder
``segmenter``  a U-Net: masks
``detector``   Faster R-CNN: boxes
``severity``   a network with one output: how much
``image_text`` films and reports in one space, for the editing score; one is shipped
``anatomy``    what an edit did to lungs and heart, by two segmenters that are shipped
"""

from importlib import import_module

_HOME = {
    "evaluate_anatomy": "anatomy",
    "Detector": "detector",
    "ImageText": "image_text",
    "ImageTextConfig": "image_text",
    "DetectorConfig": "detector",
    "Segmenter": "segmenter",
    "SegmenterConfig": "segmenter",
    "SeverityConfig": "severity",
    "SeverityModel": "severity",
    "load_encoder": "image_text",
    "train_detector": "detector",
    "train_image_text": "image_text",
    "train_segmenter": "segmenter",
    "train_severity": "severity",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
