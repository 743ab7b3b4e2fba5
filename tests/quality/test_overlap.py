"""Dice and boxes against annotations: hand-made values, intervals by patient, COCO's own evaluation where it is at hand."""

import json
from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthorax.cli import run
from synthorax.errors import InputError
from synthorax.quality.detection import (
    CORNERS,
    average_precision,
    detection_figures,
    hits,
    iou,
    match,
    read_detections,
)
from synthorax.quality.segmentation import dice, dice_figures, dice_of_films
from synthorax.studies.annotations import write_annotations
from synthorax.studies.run_lengths import encode


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((1024, 1024), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


TRUE = rectangle(100, 100, 200, 300)


@pytest.fixture
def pneumothoraces(tmp_path):
    """Four films: two with a pneumothorax, two without; and predictions of each kind."""
    rows = [f"{name}, {encode(TRUE, 'relative') if name in 'ab' else -1}" for name in "abcd"]
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    write_annotations(tmp_path / "train-rle.csv", "siim-acr", tmp_path / "marks")
    predicted = {"a": TRUE, "b": rectangle(100, 100, 200, 200), "c": ~np.ones_like(TRUE), "d": TRUE}
    for name, mask in predicted.items():
        path = tmp_path / "predicted" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        small = (
            Image.fromarray(mask).resize((512, 512), Image.Resampling.NEAREST)
            if name == "a"
            else Image.fromarray(mask)
        )
        small.save(path)
    return tmp_path


def test_positive_and_negative_dice(pneumothoraces, capsys):
    films = dice_of_films(pneumothoraces / "predicted", pneumothoraces / "marks", "Pneumothorax")
    assert films["is_positive"].to_list() == [True, True, False, False]
    assert films["dice"].to_list() == pytest.approx([1, 2 / 3, 1, 0])
    figures = dice_figures(films, n_resamples=200)
    assert [figures[name].estimate for name in figures] == pytest.approx([5 / 6, 0.5, 2 / 3])
    assert figures["negative_dice"].ci_low == 0 and figures["negative_dice"].n_patients == 2
    assert dice_figures(films.filter("is_positive"))["negative_dice"] is None
    words = [
        "evaluate",
        "segmentation",
        str(pneumothoraces / "predicted"),
        "--annotations",
        str(pneumothoraces / "marks"),
    ]
    assert run([*words, "--label", "Pneumothorax", "--out", str(pneumothoraces / "out")]) == 0
    assert "negative_dice: 0.500 (0.000 to 1.000), 2 films of 2 patients" in capsys.readouterr().out
    assert json.loads((pneumothoraces / "out/segmentation.json").read_text())["dice"]["n_images"] == 4


def test_dice_by_hand():
    empty = np.zeros((4, 4), dtype=bool)
    half = empty.copy()
    half[:2] = True
    assert (dice(empty, empty), dice(half, empty), dice(half, ~half), dice(half, half)) == (1, 0, 0, 1)


def test_what_segmentation_refuses(pneumothoraces):
    (pneumothoraces / "predicted/c.png").unlink()
    with pytest.raises(InputError, match=r"c.png does not exist; expected a mask of every annotated film"):
        dice_of_films(pneumothoraces / "predicted", pneumothoraces / "marks", "Pneumothorax")
    with pytest.raises(InputError, match="label is 'pneumothorax'; expected one of Pneumothorax"):
        dice_of_films(pneumothoraces / "predicted", pneumothoraces / "marks", "pneumothorax")
    with pytest.raises(InputError, match="expected a folder made by 'synthorax studies annotations'"):
        dice_of_films(pneumothoraces / "predicted", pneumothoraces, "Pneumothorax")


@pytest.fixture
def boxes(tmp_path):
    """Three films with boxes, one without; a CSV of detections."""
    (tmp_path / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\na,0,0,100,100,1\na,200,200,100,100,1\nb,0,0,100,100,1\nc,,,,,0\n"
    )
    write_annotations(tmp_path / "stage_2_train_labels.csv", "rsna", tmp_path / "marks")
    (tmp_path / "found.csv").write_text(
        "image_id,label,score,x_min,y_min,x_max,y_max\n"
        "a,Lung Opacity,0.9,0,0,100,100\n"  # hit
        "c,Lung Opacity,0.8,0,0,100,100\n"  # false: nothing there
        "b,Lung Opacity,0.7,0,0,100,60\n"  # hit, IoU 0.6
        "a,Lung Opacity,0.6,0,0,100,99\n"  # false: its box is taken
    )
    return tmp_path


def test_ap_and_recall_by_hand(boxes, capsys):
    found = read_detections(boxes / "found.csv", boxes / "marks")
    figures = detection_figures(found, boxes / "marks", n_resamples=200)
    # Precision 1 up to recall 1/3 (34 of 101 recalls), 2/3 up to 2/3 (33 more), 0 beyond.
    assert figures["map50"].estimate == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert figures["mar50"].estimate == pytest.approx(2 / 3)
    assert figures["ap50 Lung Opacity"].estimate == figures["map50"].estimate
    interval = figures["map50"].interval()
    assert interval.n_images == 3 and interval.ci_low < interval.estimate < interval.ci_high
    words = [
        "evaluate",
        "detection",
        str(boxes / "found.csv"),
        "--annotations",
        str(boxes / "marks"),
        "--out",
        str(boxes / "out"),
    ]
    assert run(words) == 0
    assert "mar50: 0.667 (" in capsys.readouterr().out


def test_a_resample_is_what_its_films_written_twice_would_be(boxes):
    """Film a twice, film c once, film b not at all: weights against films renamed and repeated."""
    found = read_detections(boxes / "found.csv", boxes / "marks")
    truth = pl.read_parquet(boxes / "marks/annotations.parquet").drop_nulls("x_min")
    weighted = average_precision(
        match(truth, found, ["a", "b", "c"], "Lung Opacity"), np.array([[2.0, 0.0, 1.0]])
    )
    twice = [frame.filter(pl.col("image_id") != "b") for frame in (truth, found)]
    again = [frame.filter(image_id="a").with_columns(image_id=pl.lit("a2")) for frame in (truth, found)]
    both = [pl.concat([first, second]) for first, second in zip(twice, again, strict=True)]
    repeated = average_precision(match(*both, ["a", "a2", "c"], "Lung Opacity"), np.ones((1, 3)))
    assert np.allclose(weighted, repeated)


def test_each_true_box_is_taken_once():
    true = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], dtype=float)
    found = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 21, 21]], dtype=float)
    assert hits(found, true).tolist() == [True, True, False, False]
    assert hits(found, np.empty((0, 4))).tolist() == [False] * 4
    assert iou(true[:1], np.array([[5, 0, 15, 10]]))[0, 0] == pytest.approx(1 / 3)


def test_coco_results_and_what_is_refused(boxes):
    told = json.loads((boxes / "marks/coco.json").read_text())
    number = {film["image_id"]: film["id"] for film in told["images"]}
    row = {"image_id": number["b"], "category_id": 1, "bbox": [0, 0, 100, 60], "score": 0.7}
    (boxes / "results.json").write_text(json.dumps([row]))
    found = read_detections(boxes / "results.json", boxes / "marks")
    assert found.rows() == [("b", "Lung Opacity", 0.7, 0, 0, 100, 60)]
    (boxes / "results.json").write_text(json.dumps([row | {"image_id": 77}]))
    with pytest.raises(InputError, match=r"results\.json entry 1: .*expected image_id and category_id of"):
        read_detections(boxes / "results.json", boxes / "marks")
    with pytest.raises(InputError, match="a detection is on film 'z', which"):
        detection_figures(found.with_columns(image_id=pl.lit("z")), boxes / "marks")
    with pytest.raises(InputError, match="no true box of 'Mass' in"):
        detection_figures(found, boxes / "marks", labels=["Mass"])
    (boxes / "short.csv").write_text("image_id,label,x_min,y_min,x_max,y_max\n")
    with pytest.raises(InputError, match=r"short\.csv has no column 'score'"):
        read_detections(boxes / "short.csv", boxes / "marks")
    (boxes / "blank.csv").write_text(
        "image_id,label,score,x_min,y_min,x_max,y_max\na,Lung Opacity,,1,2,3,4\n"
    )
    with pytest.raises(InputError, match=r"blank\.csv row 1 has a blank cell"):
        read_detections(boxes / "blank.csv", boxes / "marks")


def test_several_raters_need_a_choice(tmp_path):
    header = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max"
    (tmp_path / "train.csv").write_text(f"{header}\na,R1,Mass,0,0,9,9\na,R2,Mass,0,0,9,9\n")
    write_annotations(tmp_path, "vindr-cxr", tmp_path / "marks")
    found = pl.DataFrame(
        [("a", "Mass", 0.5, 0.0, 0.0, 9.0, 9.0)],
        schema=["image_id", "label", "score", *CORNERS],
        orient="row",
    )
    with pytest.raises(InputError, match=r"1 films of .* have boxes of several raters.*--rater"):
        detection_figures(found, tmp_path / "marks")
    assert detection_figures(found, tmp_path / "marks", rater="R2", n_resamples=20)["map50"].estimate == 1
    with pytest.raises(InputError, match="has no rater 'R9'"):
        detection_figures(found, tmp_path / "marks", rater="R9")


@pytest.mark.skipif(find_spec("pycocotools") is None, reason="pycocotools is not installed")
def test_as_cocoeval(boxes):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = read_detections(boxes / "found.csv", boxes / "marks")
    truth = COCO(str(boxes / "marks/coco.json"))
    number = {film["image_id"]: film["id"] for film in truth.dataset["images"]}
    results = [
        {"image_id": number[image], "category_id": 1, "score": score, "bbox": [x, y, right - x, bottom - y]}
        for image, _, score, x, y, right, bottom in found.rows()
    ]
    judge = COCOeval(truth, truth.loadRes(results), "bbox")
    judge.params.iouThrs = np.array([0.5])
    judge.evaluate()
    judge.accumulate()
    figures = detection_figures(found, boxes / "marks", n_resamples=10)
    assert figures["map50"].estimate == pytest.approx(judge.eval["precision"][0, :, 0, 0, 2].mean())
    assert figures["mar50"].estimate == pytest.approx(judge.eval["recall"][0, 0, 0, 2])
