"""mAP50 and mAR50 beside COCO's and torchmetrics' own, on the 984 published boxes of ChestX-ray14.

    pip install pycocotools; python benchmarks/detection_peers.py [FOLDER]

Detections are simulated: each published box moved at random or given another label, and boxes anywhere, with scores of two
digits, so that many are equal. Prints each label's difference from cocoeval. The boxes ship with torchxrayvision.
"""

import contextlib
import io
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.quality.detection import CORNERS, DETECTIONS, detection_figures
from synthorax.seeds import generator
from synthorax.studies.annotations import write_annotations


def simulated(truth: pl.DataFrame) -> pl.DataFrame:
    """Detections of the films of ``truth``."""
    draw = generator("detection peers")
    films, labels = (truth[name].unique(maintain_order=True).to_list() for name in ("image_id", "label"))
    rows = []
    for row in truth.iter_rows(named=True):
        box = np.array([row[name] for name in CORNERS])
        for _ in range(draw.integers(0, 4)):
            moved = box + draw.normal(0, 0.12, 4) * np.tile(box[2:] - box[:2], 2)
            label = row["label"] if draw.random() > 0.2 else str(draw.choice(labels))
            if (moved[:2] < moved[2:]).all():
                rows.append((row["image_id"], label, round(float(draw.random()), 2), *moved))
    for _ in range(800):
        x, y = draw.uniform(0, 800, 2)
        score = round(float(draw.random()), 2)
        width, height = draw.uniform(20, 200, 2)
        rows.append((str(draw.choice(films)), str(draw.choice(labels)), score, x, y, x + width, y + height))
    return pl.DataFrame(rows, schema=list(DETECTIONS), orient="row")


def main(folder: Path) -> None:
    """Measure with all three and print the differences."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    from torchmetrics.detection.mean_ap import MeanAveragePrecision

    data = Path(find_spec("torchxrayvision").submodule_search_locations[0]) / "data"
    truth = write_annotations(data / "BBox_List_2017.csv.gz", "nih", folder).frame
    found = simulated(truth)
    ours = detection_figures(found, folder)
    told = json.loads((folder / "coco.json").read_text())
    film = {each["image_id"]: each["id"] for each in told["images"]}
    label = {each["name"]: each["id"] for each in told["categories"]}
    results = [
        {"image_id": film[i], "category_id": label[n], "score": s, "bbox": [x, y, right - x, bottom - y]}
        for i, n, s, x, y, right, bottom in found.rows()
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "coco.json"))
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.evaluate()
        judge.accumulate()
    ap, ar = judge.eval["precision"][0, :, :, 0, 2].mean(axis=0), judge.eval["recall"][0, :, 0, 2]
    print(f"{found.height} simulated detections, {truth.height} boxes, {len(film)} films")
    print(f"synthorax     mAP50 {ours['map50'].interval()}, mAR50 {ours['mar50'].interval()}")
    print(f"cocoeval      mAP50 {ap.mean():.3f}, mAR50 {ar.mean():.3f}")
    metric = MeanAveragePrecision(iou_thresholds=[0.5])
    both = [[_tensors(frame.filter(image_id=i), label) for i in film] for frame in (found, truth)]
    metric.update(*both)
    theirs = metric.compute()
    print(f"torchmetrics  mAP50 {float(theirs['map_50']):.3f}, mAR50 {float(theirs['mar_100']):.3f}")
    gaps = [abs(ap[n - 1] - ours[f"ap50 {name}"].estimate) for name, n in label.items()]
    gaps += [abs(ar[n - 1] - ours[f"ar50 {name}"].estimate) for name, n in label.items()]
    print(f"largest difference from cocoeval over {len(label)} labels: {max(gaps):.1e}")


def _tensors(frame: pl.DataFrame, label: dict[str, int]) -> dict:
    import torch

    told = {
        "boxes": torch.tensor(frame.select(CORNERS).to_numpy().copy(), dtype=torch.float64),
        "labels": torch.tensor([label[name] for name in frame["label"]], dtype=torch.long),
    }
    return told | ({"scores": torch.tensor(frame["score"].to_list())} if "score" in frame.columns else {})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
