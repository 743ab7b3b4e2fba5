"""``synthorax generate --control``: masks, boxes and COCO files in, films with the same beside them out."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from synthorax.cli import run
from synthorax.dataset import read_metadata, read_png, write_png
from synthorax.diffusion import load_model, sample
from synthorax.diffusion.annotations import Annotation, draw, palette
from synthorax.diffusion.control import new_control, with_control
from synthorax.diffusion.train_control import ControlConfig, export_control
from synthorax.studies.annotations import read_annotations
from synthorax.studies.run_lengths import decode, encode


@pytest.fixture(scope="module")
def control(tiny, tmp_path_factory):
    """A ControlNet of the tiny model whose zero convolutions are not zero any more."""
    model = load_model(tiny.pipeline)
    control, chance = new_control(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in control.net.parameters():
            if not p.any():
                p.copy_(torch.randn(p.shape, generator=chance) * 0.1)
    config = ControlConfig(start=str(tiny.pipeline), classes=("mass", "effusion"))
    return export_control(control, model, config, tmp_path_factory.mktemp("steered") / "control")


@pytest.fixture
def mask():
    """Two parts on 128 px: a square and a stripe."""
    found = np.zeros((128, 128), bool)
    found[20:60, 30:70] = True
    found[90:110, 10:120] = True
    return found


def generate(tiny, control, prompts, out, *more):
    steps = ["--num-inference-steps", "2", "--batch-size", "2", "--dtype", "float32"]
    return run(["generate", str(prompts), "--out", str(out), "--model", str(tiny.pipeline), "--control", str(control), *steps, *more])  # fmt: skip


def test_masks_and_boxes_come_back_with_the_films(tiny, control, mask, tmp_path):
    write_png(mask, tmp_path / "mine.png")
    table = {
        "prompt": ["Mass.", "Effusion.", "No findings."],
        "mask_mass": ["mine.png", None, None],
        "boxes": [None, '[{"finding": "effusion", "x": 4, "y": 30, "width": 20, "height": 30}]', None],
    }
    pl.DataFrame(table).write_csv(tmp_path / "asked.csv")
    assert generate(tiny, control, tmp_path / "asked.csv", tmp_path / "run") == 0
    made = tmp_path / "run/synthetic"
    coco = json.loads((made / "coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["mass", "effusion"]
    assert [image["file_name"] for image in coco["images"]] == read_metadata(made)["file_name"].to_list()
    found = [(entry["image_id"], entry["category_id"], entry["bbox"]) for entry in coco["annotations"]]
    assert found == [(1, 1, [5, 45, 55, 10]), (1, 1, [15, 10, 20, 20]), (2, 2, [4, 30, 20, 30])]
    parts = [decode(entry["segmentation"]["counts"], 64, 64, "coco") for entry in coco["annotations"][:2]]
    written = read_png(made / "masks/film-000000__mass.png") > 0.5
    assert (np.any(parts, axis=0) == written).all() and (written == mask[::2, ::2]).all()
    with Image.open(made / "annotations/film-000000.png") as picture:
        assert (np.asarray(picture)[written] == palette(["mass"])["mass"]).all()
    assert not read_png(made / "annotations/film-000002.png").any()
    marks = read_annotations(made)
    assert (
        marks["kind"].to_list() == ["mask", "box"]
        and marks["image_id"].to_list() == read_metadata(made)["image_id"].to_list()[:2]
    )
    assert marks.select("x_min", "y_min", "x_max", "y_max").row(0) == (5, 10, 60, 55)
    assert set(read_metadata(made)["method"]) == {"annotation-to-image"}


def test_a_coco_file_asks_for_the_same_as_a_picture_and_is_made_once(tiny, control, mask, tmp_path):
    coco = {
        "images": [{"id": 7, "width": 128, "height": 128, "prompt": "Mass."}],
        "categories": [{"id": 3, "name": "mass"}],
        "annotations": [
            {
                "image_id": 7,
                "category_id": 3,
                "segmentation": {"size": [128, 128], "counts": [*map(int, encode(mask, "coco").split())]},
            }
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    picture = np.zeros((128, 128, 3), np.float32)
    picture[mask] = np.array(palette(["mass"])["mass"]) / 255
    write_png(picture, tmp_path / "picture.png")
    pl.DataFrame({"prompt": ["Mass."], "annotation": ["picture.png"]}).write_csv(tmp_path / "asked.csv")
    for name, out in (("coco.json", "one"), ("asked.csv", "two"), ("asked.csv", "two")):
        assert generate(tiny, control, tmp_path / name, tmp_path / out) == 0
    one, two = ((tmp_path / out / "synthetic") for out in ("one", "two"))
    assert (one / "coco.json").read_text() == (two / "coco.json").read_text()
    assert (read_png(one / "films/film-000000.png") == read_png(two / "films/film-000000.png")).all()
    assert generate(tiny, control, tmp_path / "asked.csv", tmp_path / "three", "--vary") == 0
    varied = read_png(tmp_path / "three/synthetic/masks/film-000000__mass.png")
    assert varied.any() and (varied != read_png(two / "masks/film-000000__mass.png")).any()


def test_a_film_that_fails_its_judge_is_made_again_with_the_same_mask(
    tiny, control, mask, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge_by_chance.py").write_text(
        "import numpy as np\n"
        "def view(films):\n"
        "    odd = np.rint(films.mean((1, 2)) * 1000) % 2 == 1\n"
        "    return np.stack([~odd, odd], 1).astype(float)\n"
        "view.labels = ('view_position:PA', 'view_position:AP')\n"
    )
    write_png(mask, tmp_path / "mine.png")
    table = {"prompt": ["Mass."] * 6, "mask_mass": ["mine.png"] * 6, "view_position": ["PA", "AP"] * 3}
    pl.DataFrame(table).write_csv(tmp_path / "asked.csv")
    judge = ["--judge", "judge_by_chance:view", "--budget", "4", "--seed", "2"]
    assert generate(tiny, control, tmp_path / "asked.csv", tmp_path / "run", *judge) == 0
    assert generate(tiny, control, tmp_path / "asked.csv", tmp_path / "plain", "--seed", "2") == 0
    made, plain = tmp_path / "run/synthetic", tmp_path / "plain/synthetic"
    rows = read_metadata(made).to_dicts()
    assert {row["n_tries"] > 1 for row in rows} == {True, False} and any(row["is_valid"] for row in rows)
    model = with_control(load_model(tiny.pipeline, dtype="float32"), control)
    picture = draw(Annotation({"mass": mask[::2, ::2]}), palette(["mass"]), 64)[None]
    for row in rows:
        film = read_png(made / row["file_name"])
        assert (film == read_png(plain / row["file_name"])).all() == (
            row["n_tries"] == 1 or not row["is_valid"]
        )
        again = sample(model.annotated(picture), [row["prompt"]], [row["seed"]], negative_prompts=[row["negative_prompt"]], **{k: row[k] for k in ("guidance_scale", "num_inference_steps")})  # fmt: skip
        assert np.abs(again.numpy()[0] - film).max() <= 0.6 / 255
    assert (made / "coco.json").read_text() == (plain / "coco.json").read_text()
    assert run(["runs", "verify", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({}, "asks for no place; expected columns mask_<class>, boxes or annotation, or a COCO file"),
        ({"mask_mass": "nowhere.png"}, "nowhere.png does not exist; paths are relative to the table"),
        ({"mask_mass": "black.png"}, "row 1, mask_mass: .*black.png is empty; leave the cell blank"),
        ({"mask_mass": "wide.png"}, "wide.png is 80 x 64 px; films are square"),
        ({"mask_mass": "text.png"}, "text.png is no picture that can be read"),
        ({"mask_masss": "white.png"}, "row 1: class is 'masss'; expected one of effusion, mass. Did you mean 'mass'"),
        ({"boxes": "[3"}, "row 1: boxes are not JSON"),
        ({"boxes": '[{"finding": "mass", "x": 1}]'}, "is no box; expected finding, x, y, width and height"),
        ({"boxes": '[{"finding": "mass", "x": 50, "y": 0, "width": 30, "height": 9}]'}, "is not on a film of 64 x 64 px"),
        ({"annotation": "white.png"}, "white.png has the colour .255, 255, 255. at column 0, row 0, which is no class's"),
        ({"annotation": "black.png", "mask_mass": "white.png"}, "has an annotation and masks or boxes as well"),
    ],
)  # fmt: skip
def test_a_bad_mask_or_box_gets_one_sentence(tiny, control, tmp_path, capsys, columns, sentence):
    import re

    write_png(np.zeros((64, 64), bool), tmp_path / "black.png")
    write_png(np.ones((64, 64), bool), tmp_path / "white.png")
    write_png(np.ones((64, 80), bool), tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("no picture")
    pl.DataFrame({"prompt": ["Mass."], **{name: [value] for name, value in columns.items()}}).write_csv(tmp_path / "asked.csv")  # fmt: skip
    assert generate(tiny, control, tmp_path / "asked.csv", tmp_path / "run") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert re.search(sentence, said[-1]), said
    assert not (tmp_path / "run/synthetic/films").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": [{"id": 1, "width": 64, "height": 64}]}, "image 1 has no 'prompt'"),
        ({"annotations": None}, "has no list 'annotations'"),
        ({"annotations": [{"image_id": 1, "category_id": 9, "bbox": [1, 1, 2, 2]}]}, "category 9 is not among"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2]}]}, r"bbox is \[1, 1, 2\]"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "segmentation": {"counts": "abc"}}]}, "counts are compressed"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[1, 2, 3]]}]}, "a polygon is no list of"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9]]}]}, "a polygon is no list of"),
    ],
)  # fmt: skip
def test_a_bad_coco_file_gets_one_sentence(tiny, control, tmp_path, capsys, change, sentence):
    import re

    coco = {
        "images": [{"id": 1, "width": 64, "height": 64, "prompt": "Mass."}],
        "categories": [{"id": 1, "name": "mass"}],
        "annotations": [],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco | change))
    assert generate(tiny, control, tmp_path / "coco.json", tmp_path / "run") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert re.search(sentence, said[-1]), said


def test_control_is_asked_for_where_it_is_needed(tiny, control, tmp_path, capsys):
    (tmp_path / "coco.json").write_text("{}")
    (tmp_path / "p.txt").write_text("Mass.\n")
    plain = ["--out", str(tmp_path / "run"), "--model", str(tiny.pipeline)]
    assert run(["generate", str(tmp_path / "coco.json"), *plain]) == 2
    assert "give --control" in capsys.readouterr().err
    assert run(["generate", str(tmp_path / "p.txt"), "--vary", *plain]) == 2
    assert "--vary changes annotations" in capsys.readouterr().err
    assert generate(tiny, control, tmp_path / "p.txt", tmp_path / "run", "--shard", "1/2") == 2
    assert "--control works in one process" in capsys.readouterr().err
