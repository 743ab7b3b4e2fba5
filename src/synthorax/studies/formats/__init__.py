"""One adapter a published set, from its tables to rows: ``read_source(path, **options)`` of each module."""

from typing import NamedTuple


class Format(NamedTuple):
    """An adapter's module, the options it takes, and what it reads."""

    module: str
    options: tuple[str, ...]
    reads: str


FORMATS = {
    "nih": Format("nih", (), "ChestX-ray14: Data_Entry*.csv and images (flat, images/ or images_001..012)"),
    "openi": Format("openi", ("reports",), "Open-I (Indiana): reports in XML, films in PNG where present"),
    "hannover": Format("hannover", (), "COVID-19 Image Repository, Hannover: data.csv and images"),
    "mimic-cxr": Format(
        "mimic_cxr", ("reports", "mimic_iv", "labeler"), "MIMIC-CXR-JPG (or MIMIC-CXR) as published"
    ),
    "chexpert": Format("chexpert", (), "CheXpert: train.csv, valid.csv and the films they name"),
    "mimic-cxr-reports": Format("mimic_reports", (), "MIMIC-CXR's reports (s*.txt) without films"),
    "chexpert-plus": Format(
        "chexpert_plus", (), "CheXpert Plus: df_chexpert_plus_*.csv, with or without films"
    ),
    "dicom": Format(
        "dicom_tree", ("reports", "take_burned_in"), "a tree of DICOM radiographs, or a DICOMDIR"
    ),
    "folder": Format("folder", ("table", "reports"), "a folder of films, with a CSV where there is one"),
    "manifest": Format("own_manifest", (), "a table in the manifest's own columns (.parquet or .csv)"),
}
