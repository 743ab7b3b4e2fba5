"""``synthorax edit`` with its masks, methods and presets, on two small films and a tiny model."""

import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthorax.cli import run as command
from synthorax.dataset import read_metadata, read_png, write_png
from synthorax.downstream.anatomy import Segmenters
from synthorax.runs.edit_judges import Anatomy, asked_of_edits


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A folder of two films with reports, and the plan of their edits."""
    root = tmp_path_factory.mktemp("planned")
    y, x = np.mgrid[-1:1:64j, -1:1:80j]
    for name, phase in (("a.png", 0.3), ("b.png", 0.7)):
        pixels = (127 + 90 * np.cos(3 * x + phase) * np.cos(2 * y)).astype(np.uint8)
        (root / "films").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / "films" / name)
    (root / "films" / "films.csv").write_text(
        "file_name,report\na.png,Large left effusion.\nb.png,Normal chest.\n"
    )
    for words in (
        ["studies", "import", root / "films", "--format", "folder", "--out", root / "studies.parquet"],
        ["concepts", "annotate", root / "studies.parquet", "--out", root / "concepts.parquet"],
        [
            "perturb",
            root / "concepts.parquet",
            "--out",
            root / "plan.parquet",
            "--types",
            "insertion,deletion",
        ],
    ):
        assert command([str(word) for word in words]) == 0
    return root


def edited(planned, tiny, out, *options, plan="plan.parquet"):
    words = [planned / plan, "--studies", planned / "studies.parquet", "--out", out, "--model", tiny.pipeline,
             "--num-inference-steps", 3, "--guidance-scale", 3, *options]  # fmt: skip
    assert command(["edit", *(str(word) for word in words)]) == 0
    return read_metadata(out / "synthetic")


def test_a_films_edits_share_its_seed(planned):
    plan = pl.read_parquet(planned / "plan.parquet")
    assert plan.height > plan["image_id"].n_unique() == plan["seed"].n_unique() == 2


def test_masks_from_finding_and_side_keep_every_bit_of_the_rest(planned, tiny, tmp_path):
    rows = edited(planned, tiny, tmp_path, "--masks", "finding", "--preset", "fast")
    assert set(rows["method"]) == {"radedit"} and set(rows["preset"]) == {"fast"}
    for row in rows.iter_rows(named=True):
        film, source, keep, edit = (
            read_png(tmp_path / "synthetic" / row[name])
            for name in ("file_name", "source_file_name", "keep_mask_file_name", "edit_mask_file_name")
        )
        assert np.array_equal(film[keep > 0], source[keep > 0]) and not np.array_equal(film, source)
        assert not ((keep > 0) & (edit > 0)).any()
    removal = rows.filter(pl.col("perturbation_type") == "deletion").row(0, named=True)
    mask = read_png(tmp_path / "synthetic" / removal["edit_mask_file_name"])
    assert np.argwhere(mask > 0)[:, 1].min() > 250, "a left effusion is on the patient's left"


def test_masks_from_files_are_brought_to_the_films_form(planned, tiny, tmp_path):
    mask = np.zeros((64, 80), dtype=bool)
    mask[:, :40] = True  # the left half before the crop to a square, and after it
    write_png(mask, planned / "half.png")
    plan = (
        pl.read_parquet(planned / "plan.parquet").head(1).with_columns(keep_mask_file_name=pl.lit("half.png"))
    )
    plan.write_parquet(planned / "masked.parquet")
    row = edited(planned, tiny, tmp_path, "--masks", "file", plan="masked.parquet").row(0, named=True)
    film, source, keep = (read_png(tmp_path / "synthetic" / row[name]) for name in ("file_name", "source_file_name", "keep_mask_file_name"))  # fmt: skip
    assert np.array_equal(keep > 0, np.arange(512) < 256 + np.zeros((512, 1)))
    assert np.array_equal(film[:, :256], source[:, :256]) and not np.array_equal(film, source)


def test_shams_walk_as_the_edits_do_and_ask_for_nothing(planned, tiny, tmp_path):
    edits, shams = (edited(planned, tiny, tmp_path / name, *more) for name, more in (("edits", ()), ("shams", ("--sham",))))  # fmt: skip
    same = ("image_id", "seed", "source_image_id", "guidance_scale", "inversion_prompt", "concepts_before")
    assert edits.select(same).equals(shams.select(same)) and set(shams["perturbation_type"]) == {"sham"}
    assert shams["prompt"].to_list() == shams["inversion_prompt"].to_list() != edits["prompt"].to_list()
    assert shams["concepts_after"].to_list() == shams["concepts_before"].to_list()
    pairs = zip(edits["file_name"], shams["file_name"], strict=True)
    assert not any(np.array_equal(read_png(tmp_path / "edits/synthetic" / a), read_png(tmp_path / "shams/synthetic" / b)) for a, b in pairs)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--masks", "file"], "has neither column edit_mask_file_name nor keep_mask_file_name"),
        (["--masks", "fill"], "masks is 'fill'; expected one of"),
        (["--method", "diffedti"], "Did you mean 'diffedit'"),
        (["--preset", "quick"], "preset is 'quick'; expected one of"),
        (["--method", "lance", "--masks", "finding"], "method 'lance' knows no masks"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(planned, tiny, tmp_path, capsys, options, sentence):
    words = ["edit", planned / "plan.parquet", "--studies", planned / "studies.parquet", "--out", tmp_path / "run", "--model", tiny.pipeline, *options]  # fmt: skip
    assert command([str(word) for word in words]) == 2
    assert sentence in capsys.readouterr().err.replace("\n", " ")


#: Calls an effusion where the third decimal of a film's mean is even, so that a new seed can please it; and nothing else.
JUDGE = """
import numpy as np

def effusion(films):
    is_even = np.rint(np.asarray(films).mean((1, 2)) * 1000).astype(int) % 2 == 0
    return np.stack([is_even, np.zeros(len(films))], 1).astype(float)

effusion.labels = ("Pleural Effusion", "Cardiomegaly")
"""


def test_edits_that_show_something_else_are_made_again(planned, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge_of_fluid.py").write_text(JUDGE)
    judged = ("--judge", "judge_of_fluid:effusion", "--budget", 4, "--fresh-noise", 0.8)
    rows, plain = edited(planned, tiny, tmp_path / "run", *judged), edited(planned, tiny, tmp_path / "plain", "--fresh-noise", 0.8)  # fmt: skip

    assert set(plain["method"]) == {"radedit, fresh noise 0.8"}

    def is_right(folder, row) -> bool:
        seen = round(float(read_png(folder / "synthetic" / row["file_name"]).mean()) * 1000) % 2 == 0
        after = set(row["labels_after"])
        return seen == ("Pleural Effusion" in after) and "Cardiomegaly" not in after

    first = [is_right(tmp_path / "plain", row) for row in plain.to_dicts()]
    for row, once in zip(rows.to_dicts(), first, strict=True):
        assert row["is_valid"] == is_right(tmp_path / "run", row)
        assert (row["n_tries"] == 1) == once
    told = json.loads((tmp_path / "run/judged.json").read_text())
    assert told["n_tries"] == rows["n_tries"].sum() > len(rows)
    assert sum(first) < rows["is_valid"].sum(), "some edit passes by another seed"
    assert command(["runs", "verify", str(tmp_path / "run")]) == 0


def test_the_anatomy_judge_is_refused_for_real_films(planned, tiny, tmp_path, capsys):
    words = ["edit", planned / "plan.parquet", "--studies", planned / "studies.parquet", "--out", tmp_path, "--model", tiny.pipeline, "--judge", "anatomy"]  # fmt: skip
    assert command([str(word) for word in words]) == 2
    assert "is for virtual patients" in " ".join(capsys.readouterr().err.split())


def test_the_anatomy_judge_sees_a_lung_that_shrinks_and_lets_the_heart_change_by_request():
    rows = pl.DataFrame({
        "edit_id": ["a", "b", "c"], "image_id": ["v", "v", "gone"],
        "labels_before": [["No Relevant Finding"]] * 3, "labels_after": [["Pneumonia"], ["Cardiomegaly"], ["Pneumonia"]],
    })  # fmt: skip
    asked = asked_of_edits(rows, {"v": "source"})
    assert [asked["a"].stays, asked["b"].stays] == [("cardiothoracic_ratio", "lung_area"), ("lung_area",)]
    assert asked["a"].labels == ("Pneumonia",) and "Cardiomegaly" in asked["a"].denied and "c" not in asked

    class Boxes:
        """Finds what is brighter than its level."""

        def __init__(self, level):
            self.size, self.level = 64, level

        def squares(self, pixels):
            return (pixels / 255.0 > self.level).astype(np.float32)

    def film(lung_columns, heart_columns):
        pixels = np.zeros((64, 64), np.float32)
        pixels[10:50, 4 : 4 + lung_columns] = 0.5
        pixels[30:40, 20 : 20 + heart_columns] = 0.9
        return pixels

    films = {"source": film(50, 20), "same": film(50, 20), "short": film(40, 20), "large": film(50, 26)}
    judge = Anatomy(Segmenters(Boxes(0.3), Boxes(0.7)))

    def fails(after, name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("synthorax.downstream.anatomy.load_films", lambda paths, size: np.stack([films[p] for p in paths]) * 255)  # fmt: skip
            return judge.fails([after], [asked[name]])[0]

    assert fails("same", "a") == {"cardiothoracic_ratio": False, "lung_area": False}
    assert fails("short", "a") == {"cardiothoracic_ratio": True, "lung_area": True}
    assert fails("large", "a") == {"cardiothoracic_ratio": True, "lung_area": False}
    assert fails("large", "b") == {"lung_area": False}
