"""Segmenter, detector and severity model: what they learn, what they refuse, and the commands round them."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from synthorax.classifiers.checkpoints import CHECKPOINT
from synthorax.cli import run
from synthorax.dataset import read_png, write_png
from synthorax.downstream import (
    Detector,
    DetectorConfig,
    Segmenter,
    SegmenterConfig,
    SeverityConfig,
    SeverityModel,
    fitting,
    train_detector,
    train_segmenter,
    train_severity,
)
from synthorax.downstream.annotated import Marks, film_boxes, read_marks_of, square_boxes
from synthorax.errors import InputError, ModelError, RunError
from synthorax.phantom import cohort_masks
from synthorax.quality.detection import CORNERS
from synthorax.quality.segmentation import dice_figures, dice_replicates
from synthorax.quality.severity import severity_replicates
from synthorax.studies.annotations import ANNOTATIONS

SIZE = 32


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def films(tmp_path):
    """A manifest of 12 films, one in two with a bright square, and the squares as annotations of two words."""
    rows, marks = [], []
    rng = np.random.default_rng(0)
    for i in range(12):
        film = np.full((SIZE, SIZE), 0.3, np.float32) + rng.uniform(0, 0.05, (SIZE, SIZE)).astype(np.float32)
        row = {"image_id": f"i{i}", "patient_id": f"p{i // 2}", "height": SIZE, "width": SIZE}
        if i % 2:
            y, x = rng.integers(2, 16, 2)
            film[y : y + 12, x : x + 12] = 0.5 + i / 24
            mask = np.zeros((SIZE, SIZE), bool)
            mask[y : y + 12, x : x + 12] = True
            write_png(mask, tmp_path / "marks" / f"masks/i{i}.png")
            edges = dict(zip(CORNERS, map(float, (x, y, x + 12, y + 12)), strict=True))
            marks.append(row | {"label": "Gas" if i % 4 == 1 else "Air", "kind": "mask", "mask_file_name": f"masks/i{i}.png"} | edges)  # fmt: skip
        else:
            marks.append(row | {"kind": "none"})
        write_png(film, tmp_path / f"i{i}.png")
        rows.append({"image_id": f"i{i}", "study_id": f"i{i}", "patient_id": f"p{i // 2}", "file_name": f"i{i}.png", "a": float(i), "b": i + 2.0 if i else None})  # fmt: skip
    frame = pl.DataFrame([{name: row.get(name) for name in ANNOTATIONS} for row in marks], schema=ANNOTATIONS)
    frame.write_parquet(tmp_path / "marks" / "annotations.parquet")
    pl.DataFrame(rows).write_parquet(tmp_path / "studies.parquet")
    return tmp_path


def test_severity_figures_by_hand():
    truth, predicted = np.array([0.0, 1, 2, 5]), np.array([1.0, 1, 3, 4])
    found = severity_replicates(truth, predicted, ["a", "a", "b", "c"], n_resamples=300)
    assert found["mae"].estimate == 0.75 and found["mse"].estimate == 0.75
    assert found["pearson"].estimate == pytest.approx(np.corrcoef(truth, predicted)[0, 1])
    some = np.isfinite(found["pearson"].values)
    assert (np.abs(found["pearson"].values[some]) <= 1 + 1e-12).all()
    # A resample that draws patient a three times holds its two films thrice: |error| 1 and 0, r without spread of p.
    alike = found["mae"].values == 0.5
    assert alike.any() and np.isnan(found["pearson"].values[alike]).all()


def test_dices_on_shared_resamples_are_those_of_the_command():
    frame = pl.DataFrame(
        {
            "image_id": list("abcd"),
            "patient_id": list("wxyz"),
            "is_positive": [True, True, False, False],
            "dice": [0.4, 0.8, 1.0, 0.0],
        }
    )
    shared, plain = dice_replicates(frame, 200), dice_figures(frame, 200)
    for name, interval in plain.items():
        assert shared[name].estimate == pytest.approx(interval.estimate)
    assert shared["positive_dice"].interval().n_undefined > 0, "resamples without a positive film have none"


def test_marks_of_two_words_are_one_class(films):
    marks = read_marks_of([films / "marks"], {"gas": ["Gas", "Air"], "air": ["Air"]})
    assert marks.presence(["i0", "i1", "i3"]).tolist() == [[0, 0], [1, 0], [1, 1]]
    masks = marks.masks(["i0", "i1"], "gas", SIZE)
    assert not masks[0].any() and masks[1].sum() == 144
    assert marks.masks(["i1"], "gas", 2 * SIZE).sum() == 4 * 144
    near = [{"label": "Gas", "kind": "box", **dict(zip(CORNERS, box, strict=True))} for box in ((0, 0, 10, 10), (1, 1, 11, 11), (20, 20, 30, 30))]  # fmt: skip
    boxes = Marks({"gas": ["Gas"]}, {"x": near}).boxes(["x"])
    assert boxes.select(CORNERS).rows() == [(0, 0, 11, 11), (20, 20, 30, 30)], "two words for one thing"
    with pytest.raises(InputError, match="the label of class 'fluid' is 'Water'; expected one of Air, Gas"):
        read_marks_of([films / "marks"], {"fluid": ["Water"]})
    with pytest.raises(InputError, match=r"is annotated in .* and in another folder"):
        read_marks_of([films / "marks"] * 2, {"gas": ["Gas"]})


def test_boxes_go_to_squares_and_back(tmp_path):
    write_png(np.zeros((40, 60), np.float32), tmp_path / "wide.png")
    paths = {"w": str(tmp_path / "wide.png")}
    schema = {"image_id": pl.String, "label": pl.String, **dict.fromkeys(CORNERS, pl.Float64)}
    box = pl.DataFrame([("w", "a", 6.0, 0.0, 36.0, 40.0)], schema=schema, orient="row")
    square = square_boxes(box, paths, 30)
    assert square.select(CORNERS).row(0) == (3, 5, 18, 25), "ten rows of border above"
    assert film_boxes(square, paths, 30).select(CORNERS).row(0) == pytest.approx((6, 0, 36, 40))


def test_a_detector_goes_on_and_comes_back(films, tmp_path, monkeypatch):
    marks = read_marks_of([films / "marks"], {"gas": ["Gas", "Air"]})
    places = {f"i{i}": str(films / f"i{i}.png") for i in range(6)}
    boxes = marks.boxes([*places])
    config = DetectorConfig(
        image_size_px=SIZE, batch_size=2, epochs=1, regions_per_film=4, checkpoint_every_s=0
    )
    whole = train_detector(config, places, boxes, ["gas"])
    saved = fitting.save_checkpoint

    def killed(path, network, optimizer, step, losses, identity):
        saved(path, network, optimizer, step, losses, identity)
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train_detector(config, places, boxes, ["gas"], out=tmp_path / "detector")
    assert (tmp_path / "detector" / CHECKPOINT).is_file()
    monkeypatch.setattr(fitting, "save_checkpoint", saved)
    gone_on = train_detector(config, places, boxes, ["gas"], out=tmp_path / "detector")
    for name, weights in whole.network.state_dict().items():
        assert torch.equal(weights, gone_on.network.state_dict()[name]), f"{name}: killed and whole end alike"
    assert not (tmp_path / "detector" / CHECKPOINT).exists()
    found = Detector.load(tmp_path / "detector")
    assert found(places).equals(gone_on(places)) and found.classes == ("gas",)
    with pytest.raises(RunError, match="trained with other settings or films"):
        train_detector(config, places, boxes.head(1), ["gas"], out=tmp_path / "detector")
    with pytest.raises(InputError, match="a box is of 'gas', which is no class"):
        train_detector(config, places, boxes, ["fluid"])


def test_a_severity_model_learns_brightness(tmp_path):
    numbers = np.random.default_rng(1).uniform(0, 8, 48).astype(np.float32)
    films = np.repeat(np.repeat(numbers[:, None, None] / 10 + 0.1, SIZE, 1), SIZE, 2)
    config = SeverityConfig(image_size_px=SIZE, epochs=8, batch_size=12)
    trained = train_severity(config, films[:36], numbers[:36], out=tmp_path)
    found = SeverityModel.load(tmp_path)(films[36:])
    assert np.corrcoef(found, numbers[36:])[0, 1] > 0.8 and np.array_equal(found, trained(films[36:]))
    with pytest.raises(InputError, match="expected a finite one a film"):
        train_severity(config, films, np.full(48, np.nan))
    with pytest.raises(
        ModelError, match=r"severity.json is missing. Train one by 'synthorax train severity'"
    ):
        SeverityModel.load(tmp_path / "none")


def test_the_commands_from_films_to_figures(films, capsys):
    studies, marks = str(films / "studies.parquet"), str(films / "marks")
    jobs = {
        "segmenter": ["--annotations", marks, "--label", "Gas,Air", "--epochs", "1", "--size", "32"],
        "detector": ["--annotations", marks, "--labels", "Gas", "--epochs", "1", "--size", "32"],
        "severity": ["--targets", "a,b", "--epochs", "1", "--size", "32"],
    }
    for kind, words in jobs.items():
        assert run(["train", kind, studies, *words, "--out", str(films / kind)]) == 0
        assert run(["predict", str(films / kind), studies, "--out", str(films / "found")]) == 0
    capsys.readouterr()
    found = films / "found"
    assert len([*(found / "masks").glob("*.png")]) == 12
    evaluate = [
        ["segmentation", str(found / "masks"), "--annotations", marks, "--label", "Gas"],
        ["detection", str(found / "detections.parquet"), "--annotations", marks, "--labels", "Gas"],
        ["severity", str(found / "severity.parquet"), "--studies", studies, "--targets", "a,b"],
    ]
    for words in evaluate:
        assert run(["evaluate", *words, "--out", str(films / "figures")]) == 0
    said = capsys.readouterr().out
    assert "positive_dice: " in said and "map50: " in said and "pearson: " in said
    told = json.loads((films / "figures" / "severity.json").read_text())
    predicted = dict(pl.read_parquet(found / "severity.parquet").iter_rows())
    truth = {f"i{i}": 0.0 if i == 0 else i + 1.0 for i in range(12)}  # b is NULL for the first: one rater
    assert told["mae"]["estimate"] == pytest.approx(np.mean([abs(predicted[i] - truth[i]) for i in truth]))
    assert run(["predict", str(films), studies, "--out", str(found)]) == 2
    assert "holds no segmenter, detector or severity model" in capsys.readouterr().err


def test_a_segmenter_learns_a_mask_of_a_cohort_by_its_name(films, capsys):
    """Films without the mask's file show nothing."""
    truth = {f"i{i}": read_png(films / f"marks/masks/i{i}.png") > 0.5 for i in range(1, 12, 2)}
    for image_id, mask in truth.items():
        write_png(mask, films / f"masks/{image_id}__square.png")
    studies = films / "studies.parquet"
    found = cohort_masks(studies, ["i0", "i1", "i3"], "square")
    assert not found[0].any() and (found[1] == truth["i1"]).all() and (found[2] == truth["i3"]).all()
    words = [
        "train",
        "segmenter",
        str(studies),
        "--epochs",
        "12",
        "--size",
        "32",
        "--out",
        str(films / "square"),
    ]
    assert run([*words, "--mask", "square"]) == 0
    p = Segmenter.load(films / "square")(np.stack([read_png(films / f"i{i}.png") for i in range(12)]))
    assert p[1::2][np.stack([*truth.values()])].mean() > 2 * p[::2].mean()
    capsys.readouterr()
    for more, sentence in (
        (["--mask", "sqare"], "expected one of square. Did you mean 'square'"),
        (["--mask", "square", "--annotations", "x", "--label", "y"], "belong together, without --mask"),
        (["--split", "train"], "--split is for --annotations or --mask"),
    ):
        assert run([*words, *more]) == 2 and sentence in capsys.readouterr().err


def test_the_paper_s_encoder(tmp_path):
    pytest.importorskip("segmentation_models_pytorch")
    config = SegmenterConfig(encoder="resnet34", image_size_px=32, epochs=1, batch_size=2)
    films, masks = np.zeros((2, SIZE, SIZE), np.float32), np.zeros((2, SIZE, SIZE), bool)
    films[:, 8:20, 8:20] = 0.5
    trained = train_segmenter(config, films, masks, out=tmp_path)
    assert trained(films).shape == (2, SIZE, SIZE)
    with pytest.raises(InputError, match="no encoder 'resnet35'"):
        train_segmenter(SegmenterConfig(encoder="resnet35", image_size_px=32), films, masks)
