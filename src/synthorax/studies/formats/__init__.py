"""One adapter a published set: ``read_source(path, **options)`` from its tables to films and labels, ``read_annotations(path)``
to masks and boxes."""

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
    "padchest": Format("padchest", (), "PadChest: PADCHEST_chest_x_ray_images_labels_160K*.csv and films"),
    "bimcv-covid19": Format(
        "bimcv", (), "BIMCV COVID-19+ or -: derivatives/labels/*.tsv and sub-*/ses-*/mod-rx"
    ),
    "vindr-cxr": Format("vindr_cxr", (), "VinDr-CXR: image_labels_*.csv (or Kaggle's train.csv) and films"),
    "vindr-pcxr": Format("vindr_pcxr", (), "VinDr-PCXR: image_labels_*.csv and films of children"),
    "brax": Format("brax", (), "BRAX: master_spreadsheet_update.csv and images/"),
    "ranzcr-clip": Format("ranzcr_clip", (), "RANZCR CLiP: train.csv and train/"),
    "vindr-ribcxr": Format("vindr_ribcxr", (), "VinDr-RibCXR: Vindr_RibCXR_*_mask.json and films"),
    "object-cxr": Format("object_cxr", (), "Object-CXR: train.csv, dev.csv and films"),
    "chestx-det": Format("chestx_det", (), "ChestX-Det: ChestX_Det_*.json and films"),
    "ralo": Format("ralo", (), "RALO: ralo-dataset-metadata.csv and CXR_images_scored/"),
    "medfmc": Format("medfmc", ("table",), "MedFMC's ChestDR: its CSV or lists, and images/"),
    "dicom": Format(
        "dicom_tree", ("reports", "take_burned_in"), "a tree of DICOM radiographs, or a DICOMDIR"
    ),
    "folder": Format("folder", ("table", "reports"), "a folder of films, with a CSV where there is one"),
    "manifest": Format("own_manifest", (), "a table in the manifest's own columns (.parquet or .csv)"),
}


class Annotated(NamedTuple):
    """An adapter's module, what it reads, and the labels that RadEdit's stress tests take from the set.

    Attributes:
        module: has ``read_annotations``.
        reads: in words.
        edit: labels whose pixels become the edit mask.
        keep: labels whose pixels become the keep mask.
        target: labels that make a film positive; default ``edit``.
        is_exhaustive: a film that the set names and that has no mark of a label does not have it.
    """

    module: str
    reads: str
    edit: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    is_exhaustive: bool = True


ANNOTATED = {
    "nih": Annotated("nih", "boxes of BBox_List_2017.csv", is_exhaustive=False),
    "siim-acr": Annotated("siim_acr", "pneumothorax masks", edit=("Pneumothorax",)),
    "candid-ptx": Annotated(
        "candid_ptx", "masks of pneumothorax, chest tube, rib fracture", ("Pneumothorax",), ("Chest tube",)
    ),
    "chexmask": Annotated("chexmask", "masks of lungs and heart"),
    "mimic-seg": Annotated("mimic_seg", "lung masks as pictures"),
    "bimcv-covid19": Annotated(
        "bimcv_boxes",
        "opacity boxes and appearances (SIIM-FISABIO-RSNA)",
        edit=("Opacity",),
        target=("Typical Appearance", "Indeterminate Appearance"),
    ),
    "vindr-cxr": Annotated("vindr_cxr", "boxes of several raters"),
    "vindr-pcxr": Annotated("vindr_pcxr", "boxes of children's films"),
    "rsna": Annotated("rsna", "opacity boxes", edit=("Lung Opacity",)),
    "vindr-ribcxr": Annotated("vindr_ribcxr", "ribs as polygons"),
    "object-cxr": Annotated(
        "object_cxr", "foreign objects as rectangles, ellipses, polygons", ("Foreign object",)
    ),
    "chestx-det": Annotated("chestx_det", "findings as polygons or boxes"),
    "virtual-patients": Annotated("virtual_patients", "masks of findings and devices (phantom sample)"),
}
