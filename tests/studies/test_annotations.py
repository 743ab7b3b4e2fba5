"""Masks and boxes as published: each layout, drawn on the films' grid, and used by edits, stress tests and COCO readers."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthorax.cli import run
from synthorax.dataset import read_png
from synthorax.errors import InputError
from synthorax.runs.plan_masks import _of_files
from synthorax.stress import read_films
from synthorax.stress.films import read_mask
from synthorax.studies import write_manifest
from synthorax.studies.annotations import read_marks, write_annotations
from synthorax.studies.marks import Mark, agreed, box_of, on_grid, pixels_of
from synthorax.studies.run_lengths import decode, encode


def rectangle(size: tuple[int, int], top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


BIG, SMALL = rectangle((1024, 1024), 100, 200, 300, 420), rectangle((1024, 1024), 600, 640, 616, 700)


@pytest.fixture
def manifest(tmp_path):
    """Films of a given size and their manifest; returns its path."""

    def make(names: list[str], size: tuple[int, int] = (1024, 1024)) -> Path:
        rows = []
        for number, name in enumerate(names):
            path = tmp_path / "films" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full(size, 40 + number, dtype=np.uint8)).save(path)
            rows.append(
                {"study_id": name, "patient_id": f"p{number}", "image_id": name, "file_name": str(path)}
            )
        frame = pl.DataFrame(rows).with_columns(pl.lit("x").alias("source"))
        return write_manifest(frame, tmp_path / "studies.parquet")

    return make


def marks_of(path, format: str) -> list[tuple]:
    found = read_marks(path, format)
    return [(m.image_id, m.label, m.kind, m.rater, m.box) for _, marks in found.by_film for m in marks]


def siim(table, path: Path) -> Path:
    table(path, "ImageId, EncodedPixels", f"1.2.a, {encode(BIG, 'relative')}", f"1.2.a, {encode(SMALL, 'relative')}", "1.2.b, -1")  # fmt: skip
    return path


def test_siim_acr_to_masks_stress_films_and_coco(tmp_path, table, manifest):
    studies = manifest(["1.2.a", "1.2.b", "1.2.c"], size=(512, 512))
    out = tmp_path / "out"
    found = write_annotations(siim(table, tmp_path / "train-rle.csv"), "siim-acr", out, studies=studies)
    assert found.frame.select("image_id", "patient_id", "kind", "x_min", "y_min", "x_max", "y_max", "height").rows() == [
        ("1.2.a", "p0", "mask", 100, 50, 210, 150, 512),
        ("1.2.a", "p0", "mask", 320, 300, 350, 308, 512),
        ("1.2.b", "p1", "none", None, None, None, None, 512),
    ]  # fmt: skip
    both = (BIG | SMALL)[::2, ::2]
    assert np.array_equal(read_png(out / found.frame["mask_file_name"][0]) > 0, BIG[::2, ::2])
    films = read_films(out / "films.parquet")
    assert films.select("image_id", "patient_id", "target").rows() == [("1.2.a", "p0", 1), ("1.2.b", "p1", 0)]
    assert np.array_equal(read_mask(films["edit_mask_file_name"][0], (512, 512)), both)
    assert films["edit_mask_file_name"][1] is None
    coco = json.loads((out / "coco.json").read_text())
    assert [film["id"] for film in coco["images"]] == [1, 2] and coco["categories"] == [{"id": 1, "name": "Pneumothorax"}]  # fmt: skip
    first = coco["annotations"][0]
    assert first["bbox"] == [100, 50, 110, 100] and first["area"] == 11_000
    assert np.array_equal(decode(first["segmentation"]["counts"], 512, 512, "coco"), BIG[::2, ::2])


def test_a_plan_gets_its_masks_and_edits_take_them(tmp_path, table, manifest):
    studies = manifest(["1.2.a", "1.2.b"])
    plan = tmp_path / "plan.parquet"
    pl.DataFrame({"edit_id": ["e", "f"], "image_id": ["1.2.a", "1.2.b"]}).write_parquet(plan)
    out = tmp_path / "out"
    words = ["studies", "annotations", str(siim(table, tmp_path / "train-rle.csv")), "--format", "siim-acr"]
    assert run([*words, "--out", str(out), "--studies", str(studies), "--plan", str(plan)]) == 0
    rows = pl.read_parquet(out / "plan.parquet").to_dicts()
    edit, keep = _of_files(rows[0], out, 256)
    assert np.array_equal(edit, np.asarray(Image.fromarray(BIG | SMALL).resize((256, 256), Image.Resampling.NEAREST)))  # fmt: skip
    assert keep is None and _of_files(rows[1], out, 256) == (None, None)


def test_candid_ptx_gives_radedits_edit_and_keep_masks(tmp_path, table, manifest):
    table(tmp_path / "c/Pneumothorax_reports.csv", "StudyInstanceUID,SOPInstanceUID,EncodedPixels,Report",
          f"s,1.a,{encode(BIG, 'relative')},text", "s,1.b,-1,text", "s,1.c,-1,text")  # fmt: skip
    table(tmp_path / "c/chest_tube.csv", "anon_SOPUID,annotation,mask_rle",
          f"1.a,1,{encode(SMALL, 'relative')}", f"1.c,1,{encode(SMALL, 'relative')}")  # fmt: skip
    studies = manifest(["1.a", "1.b", "1.c"])
    found = write_annotations(tmp_path / "c", "candid-ptx", tmp_path / "out", studies=studies)
    assert [note.split(" has no ")[1] for note in found.notes] == [
        "acute_rib_fracture.csv or Rib_fracture_mask_rle.csv: rib fractures are not read."
    ]
    films = read_films(tmp_path / "out/films.parquet")
    assert films["target"].to_list() == [1, 0, 0]
    assert np.array_equal(read_mask(films["edit_mask_file_name"][0], (1024, 1024)), BIG)
    assert np.array_equal(read_mask(films["keep_mask_file_name"][0], (1024, 1024)), SMALL)
    assert [name is None for name in films["keep_mask_file_name"]] == [False, True, False]


def test_chexmask_reads_row_by_row_and_rejects_poor_masks(tmp_path, table):
    lungs = [rectangle((8, 12), 1, left, 7, left + 3) for left in (1, 8)]
    heart = rectangle((8, 12), 4, 5, 7, 8)
    cells = [encode(mask, "absolute") for mask in (*lungs, heart)]
    header = "Path,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width"
    film = "CheXpert-v1.0/train/patient1/study2/view1_frontal.jpg"
    table(tmp_path / "CheXpert.csv.gz", header, f'{film},0.8,0.9,"1,2",{",".join(cells)},8,12',
          f'{film.replace("study2", "study3")},0.6,0.7,"1,2",{",".join(cells)},8,12')  # fmt: skip
    found = write_annotations(tmp_path / "CheXpert.csv.gz", "chexmask", tmp_path / "out")
    assert found.frame["image_id"].unique().to_list() == ["patient1_study2_view1_frontal"]
    assert found.frame["label"].to_list() == ["Left Lung", "Right Lung", "Heart"]
    for name, mask in zip(found.frame["mask_file_name"], (*lungs, heart), strict=True):
        assert np.array_equal(read_png(tmp_path / "out" / name) > 0, mask)
    assert (
        "row 2: Dice RCA (Mean) is 0.60; CheXmask's authors advise 0.7 at least"
        in found.rejected["reason"][0]
    )


def test_mimic_seg_brings_square_masks_to_the_film(tmp_path, manifest):
    folder = tmp_path / "seg/files/p10/p10000032/s50414267"
    folder.mkdir(parents=True)
    mask = Image.fromarray(rectangle((224, 224), 56, 56, 168, 112).astype(np.uint8) * 255)
    mask.save(folder / "02aa804e-bde0afdd-mask.jpg", quality=95)
    studies = manifest(["02aa804e-bde0afdd"], size=(448, 336))
    found = write_annotations(tmp_path / "seg", "mimic-seg", tmp_path / "out", studies=studies)
    row = found.frame.row(0, named=True)
    assert (row["height"], row["width"], row["label"]) == (448, 336, "Lungs")
    assert [row[name] for name in ("x_min", "y_min", "x_max", "y_max")] == [84, 112, 168, 336]


def test_bimcv_boxes_have_radedits_label_map(tmp_path, table, manifest):
    boxes = """"[{'x': 10.5, 'y': 20, 'width': 30, 'height': 40}, {'x': 60, 'y': 20, 'width': 8, 'height': 8}]\""""
    table(tmp_path / "b/train_image_level.csv", "id,boxes,label,StudyInstanceUID",
          f"a_image,{boxes},opacity 1 10.5 20 40.5 60,s1", "b_image,,none 1 0 0 1 1,s2", "c_image,,none 1 0 0 1 1,s3")  # fmt: skip
    table(tmp_path / "b/train_study_level.csv",
          "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance",
          "s1_study,0,1,0,0", "s2_study,1,0,0,0", "s3_study,0,0,0,1")  # fmt: skip
    out = tmp_path / "out"
    write_annotations(
        tmp_path / "b", "bimcv-covid19", out, studies=manifest(["a", "b", "c"], size=(100, 100))
    )
    films = read_films(out / "films.parquet")
    assert films.select("image_id", "target").rows() == [("a", 1), ("b", 0), ("c", 0)]
    drawn = rectangle((100, 100), 20, 10, 60, 40) | rectangle((100, 100), 20, 60, 28, 68)
    assert np.array_equal(read_mask(films["edit_mask_file_name"][0], (100, 100)), drawn)


def test_vindr_cxr_keeps_its_raters_and_asks_how_many_must_agree(tmp_path, table, manifest):
    header = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max"
    rows = ["a,R1,Nodule/Mass,10,10,30,30", "a,R2,Nodule/Mass,20,20,40,40", "a,R3,No finding,,,,", "b,R1,No finding,,,,",
            "c,R1,Nodule/Mass,5,5,9,9", "d,R1,Nodule/Mass,9,9,5,5"]  # fmt: skip
    table(tmp_path / "v/annotations/annotations_train.csv", header, *rows)
    assert marks_of(tmp_path / "v", "vindr-cxr")[:3] == [
        ("a", "Nodule/Mass", "box", "R1", (10, 10, 30, 30)),
        ("a", "Nodule/Mass", "box", "R2", (20, 20, 40, 40)),
        ("a", None, "none", "R3", None),
    ]
    studies = manifest(["a", "b", "c", "d"], size=(64, 64))
    asked = {"studies": studies, "edit": ["Nodule/Mass"]}
    any_rater = write_annotations(tmp_path / "v", "vindr-cxr", tmp_path / "any", **asked)
    assert any_rater.films.select("image_id", "target").rows() == [("a", 1), ("b", 0), ("c", 1)]
    assert "annotations_train.csv row 6: the box from 9.0, 9.0 to 5.0, 5.0 has no area" in any_rater.rejected["reason"][0]  # fmt: skip
    two = write_annotations(tmp_path / "v", "vindr-cxr", tmp_path / "two", least_raters=2, **asked)
    assert two.films.select("image_id", "target").rows() == [("a", 1), ("b", 0)]
    mask = read_png(tmp_path / "two/edit/a.png") > 0
    assert np.array_equal(mask, rectangle((64, 64), 20, 20, 30, 30))
    coco = json.loads((tmp_path / "two/coco.json").read_text())
    assert [(row["bbox"], row["rater"]) for row in coco["annotations"][:2]] == [([10, 10, 20, 20], "R1"), ([20, 20, 20, 20], "R2")]  # fmt: skip


def test_vindr_pcxr_rsna_and_nih(tmp_path, table):
    table(tmp_path / "p/annotations_train.csv", "image_id,rad_ID,class_name,x_min,y_min,x_max,y_max", "a,R9,Consolidation,1,2,3,4")  # fmt: skip
    assert marks_of(tmp_path / "p", "vindr-pcxr") == [("a", "Consolidation", "box", "R9", (1, 2, 3, 4))]
    table(tmp_path / "r/stage_2_train_labels.csv", "patientId,x,y,width,height,Target", "a,264.0,152.0,213.0,379.0,1", "b,,,,,0")  # fmt: skip
    assert marks_of(tmp_path / "r", "rsna") == [
        ("a", "Lung Opacity", "box", None, (264, 152, 477, 531)),
        ("b", "Lung Opacity", "none", None, None),
    ]
    table(tmp_path / "n/BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", "00013118_008.png,Infiltrate,225.5,547,86,79,,,")  # fmt: skip
    assert marks_of(tmp_path / "n", "nih") == [("00013118_008", "Infiltrate", "box", None, (225.5, 547, 311.5, 626))]  # fmt: skip


def test_a_box_of_nih_says_nothing_of_other_findings(tmp_path, table, manifest):
    table(tmp_path / "n/BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", "a.png,Mass,5,5,9,9,,,", "b.png,Nodule,5,5,9,9,,,")  # fmt: skip
    found = write_annotations(tmp_path / "n", "nih", tmp_path / "out", studies=manifest(["a", "b"]), edit=["Mass"])  # fmt: skip
    assert found.films.select("image_id", "target").rows() == [("a", 1)]
    assert "1 films have no target" in found.notes[0]


def test_object_cxr_has_three_shapes_in_a_cell(tmp_path, table):
    table(tmp_path / "o/train.csv", "image_name,annotation", "a.jpg,0 10 20 30 40;1 50 50 70 60;2 5 5 9 5 9 9 5 9", "b.jpg,", "c.jpg,3 1 2 3 4")  # fmt: skip
    film = tmp_path / "o/train"
    film.mkdir()
    for name in "abc":
        Image.fromarray(np.zeros((100, 90), dtype=np.uint8)).save(film / f"{name}.jpg")
    found = write_annotations(tmp_path / "o", "object-cxr", tmp_path / "out", edit=["Foreign object"])
    assert found.frame["kind"].to_list() == ["box", "ellipse", "polygon", "none"]
    ellipse = read_png(tmp_path / "out" / found.frame["mask_file_name"][1]) > 0
    assert box_of(ellipse) == (50, 50, 70, 60) and abs(ellipse.sum() - np.pi * 50) < 4
    polygon = read_png(tmp_path / "out" / found.frame["mask_file_name"][2]) > 0
    assert np.array_equal(polygon, rectangle((100, 90), 5, 5, 9, 9))
    assert "train.csv row 3: shape '3 1 2 3 4'; expected '0 x1 y1 x2 y2'" in found.rejected["reason"][0]
    assert (read_png(tmp_path / "out/edit/a.png") > 0)[20:40, 10:30].all()


def test_chestx_det_and_ribs_are_polygons(tmp_path):
    square = [[8, 8], [24, 8], [24, 24], [8, 24]]
    told = [
        {"file_name": "7.png", "syms": ["Mass", "Nodule"], "boxes": [[8, 8, 24, 24], [1, 1, 3, 4]], "polygons": [square, []]},
        {"file_name": "8.png", "syms": [], "boxes": [], "polygons": []},
        {"file_name": "9.png", "syms": ["Mass"], "boxes": [], "polygons": []},
    ]  # fmt: skip
    (tmp_path / "d").mkdir()
    (tmp_path / "d/ChestX_Det_train.json").write_text(json.dumps(told))
    found = write_annotations(tmp_path / "d", "chestx-det", tmp_path / "out")
    assert found.frame.select("image_id", "label", "kind", "x_max").rows() == [("7", "Mass", "polygon", 24), ("7", "Nodule", "box", 3), ("8", None, "none", None)]  # fmt: skip
    assert np.array_equal(read_png(tmp_path / "out/masks/7/0.png") > 0, rectangle((1024, 1024), 8, 8, 24, 24))
    assert "9.png has 1 syms, 0 boxes, 1 polygons; expected as many of each" in found.rejected["reason"][0]
    coco = json.loads((tmp_path / "out/coco.json").read_text())
    assert coco["annotations"][0]["segmentation"] == [[8, 8, 24, 8, 24, 24, 8, 24]]
    ribs = {"img": {"0": "data/train/img/f_000.png"}, "R1": {"0": [{"x": x, "y": y} for x, y in square]}, "L10": {"0": [{"x": 1, "y": 1}]}}  # fmt: skip
    image = tmp_path / "r/data/train/img/f_000.png"
    image.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((40, 50), dtype=np.uint8)).save(image)
    (tmp_path / "r/data/train/Vindr_RibCXR_train_mask.json").write_text(json.dumps(ribs))
    found = write_annotations(tmp_path / "r", "vindr-ribcxr", tmp_path / "ribs")
    assert found.frame.filter(kind="polygon").select("label", "height", "width").rows() == [("R1", 40, 50)]
    assert np.array_equal(
        read_png(tmp_path / "ribs/masks/f_000/0.png") > 0, rectangle((40, 50), 8, 8, 24, 24)
    )
    assert "L10 of film 0 has no three corners" in found.rejected["reason"][0]


def test_boxes_of_nih_as_published():
    spec = find_spec("torchxrayvision")
    if spec is None:
        pytest.skip("torchxrayvision is not installed (extra xrv)")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    found = marks_of(folder / "BBox_List_2017.csv.gz", "nih")
    assert len(found) == 984 and len({row[0] for row in found}) == 880
    assert found[0][:3] == ("00013118_008", "Atelectasis", "box")
    assert found[0][4] == pytest.approx((225.0847, 547.0192, 311.8644, 626.2056), abs=1e-3)
    assert all(0 <= box[0] < box[2] <= 1024.5 and 0 <= box[1] < box[3] <= 1024.5 for *_, box in found)


def test_rsna_as_published():
    spec = find_spec("torchxrayvision")
    if spec is None:
        pytest.skip("torchxrayvision is not installed (extra xrv)")
    found = marks_of(Path(spec.submodule_search_locations[0]) / "data/kaggle_stage_2_train_labels.csv.zip", "rsna")  # fmt: skip
    kinds = [row[2] for row in found]
    assert (kinds.count("box"), kinds.count("none")) == (9_555, 20_672)


def test_marks_are_brought_to_another_grid_and_raters_agree():
    box = Mark("a", "x", "box", box=(10, 20, 30, 40), size=(100, 100))
    assert on_grid(box, (50, 200)).box == (20, 10, 60, 20)
    each = [Mark("a", "x", "box", rater=str(n), box=(n, 0, n + 4, 4)) for n in range(3)]
    assert [int(agreed(each, (4, 8), n).sum()) for n in (1, 2, 3)] == [24, 16, 8]
    assert not agreed([], (4, 8)).any() and box_of(np.zeros((3, 3), dtype=bool)) is None
    assert pixels_of(Mark("a", "x", "none"), (3, 3)).sum() == 0


@pytest.mark.parametrize(
    ("format", "file", "lines", "sentence"),
    [
        ("siim-acr", "train-rle.csv", ("ImageID,EncodedPixels", "a,-1"), "has no column 'ImageId'; found ImageID, EncodedPixels. Did you rename it to 'ImageID'?"),
        ("candid-ptx", "Pneumothorax_reports.csv", ("SOPInstanceUID,Encoded", "a,-1"), "Pneumothorax_reports.csv has no column 'EncodedPixels'"),
        ("chexmask", "MIMIC-CXR-JPG.csv", ("dicom_id,Left Lung", "a,1"), "MIMIC-CXR-JPG.csv has no column 'Dice RCA (Mean)'"),
        ("bimcv-covid19", "train_image_level.csv", ("id,boxes", "a,"), "has no train_study_level.csv"),
        ("vindr-cxr", "annotations_train.csv", ("image_id,class,x_min", "a,b,1"), "annotations_train.csv has no column 'class_name'"),
        ("vindr-cxr", "annotations_train.csv", ("image_id,class_name,x_min,y_min,x_max,y_max", "a,b,1,2,3,four"), "row 1: y_max is 'four'; expected a number or blank."),
        ("rsna", "stage_2_train_labels.csv", ("patientId,x,y,w,h,Target", "a,,,,,0"), "stage_2_train_labels.csv has no column 'width'"),
        ("nih", "BBox_List_2017.csv", ("Image Index,Label,Bbox [x,y,w,h]", "a,b,1,2,3,4"), "BBox_List_2017.csv has no column 'Finding Label'"),
        ("object-cxr", "train.csv", ("image_name,shape", "a,1"), "train.csv has no column 'annotation'"),
        ("chestx-det", "ChestX_Det_train.json", ('[{"file_name": "a.png", "boxes": []}]',), "ChestX_Det_train.json film 1 has no 'syms'; found file_name, boxes."),
        ("chestx-det", "ChestX_Det_train.json", ("{}",), "ChestX_Det_train.json holds a dict; expected a list."),
        ("vindr-ribcxr", "Vindr_RibCXR_train_mask.json", ('{"R1": {}}',), "Vindr_RibCXR_train_mask.json has no key 'img'"),
        ("mimic-seg", "a.csv", ("x",), "has no <dicom_id>-mask.jpg or .png (0 pictures); rename the masks so."),
        ("siim", "train-rle.csv", ("x",), "format is 'siim'; expected one of bimcv-covid19"),
    ],
)  # fmt: skip
def test_wrong_files_get_one_sentence(tmp_path, table, format, file, lines, sentence):
    table(tmp_path / "set" / file, *lines)
    with pytest.raises(InputError) as caught:
        write_annotations(tmp_path / "set", format, tmp_path / "out")
    assert sentence in str(caught.value)
    assert not (tmp_path / "out/annotations.parquet").exists()


def test_what_cannot_be_taken_is_told(tmp_path, table, manifest):
    rows = siim(table, tmp_path / "train-rle.csv")
    with pytest.raises(
        InputError, match="no annotated film is in the manifest; compare its image_id and file names"
    ):
        write_annotations(rows, "siim-acr", tmp_path / "out", studies=manifest(["other"]))
    wide = write_annotations(rows, "siim-acr", tmp_path / "out", studies=manifest(["1.2.b", "1.2.c"]))
    assert wide.notes == (f"1 annotated films are not in {tmp_path / 'studies.parquet'}; left out.",)
    with pytest.raises(InputError, match="has 512 x 256 px, its annotations were drawn on 1024 x 1024; expected the same shape"):  # fmt: skip
        write_annotations(rows, "siim-acr", tmp_path / "out", studies=manifest(["1.2.a"], size=(512, 256)))
    with pytest.raises(InputError, match="label is 'Effusion'; expected one of Pneumothorax"):
        write_annotations(rows, "siim-acr", tmp_path / "out", edit=["Effusion"])
    table(tmp_path / "bad.csv", "ImageId, EncodedPixels", "1.2.b, -1", "1.2.a, 5 1048576")
    found = write_annotations(tmp_path / "bad.csv", "siim-acr", tmp_path / "out")
    assert (
        "bad.csv row 2: a run ends at pixel 1048581 of a mask of 1024 x 1024" in found.rejected["reason"][0]
    )
