"""The population shift: overlap in closed form, segmenters of every make, figures whose answers are known."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from synthorax.cli import run
from synthorax.dataset import metadata_frame, read_png, write_png
from synthorax.downstream import SegmenterConfig, train_segmenter
from synthorax.errors import InputError, ModelError, RunError
from synthorax.seeds import generator
from synthorax.stress import (
    EMBEDDED_PROMPTS,
    POPULATION,
    TestedSegmenter,
    load_segmenter,
    make_lungs_stressed,
    measure_population,
    overlap,
    read_lungs,
    write_population_page,
)
from synthorax.stress.population import edits_of, in_own_words

SIZE, N = 64, 22
LEFT, RIGHT = np.s_[16:48, 36:54], np.s_[16:48, 10:28]  # the patient's left is the film's right
COVER = np.s_[16:32, 36:54]


def chest(covered: bool = False, patient: int = 0) -> np.ndarray:
    """Dark lungs on grey; covered, the upper half of the left one is as light as the rest."""
    pixels = generator("lungs", patient).uniform(0.68, 0.72, (SIZE, SIZE)).astype(np.float32)
    pixels[LEFT] -= 0.5
    pixels[RIGHT] -= 0.5
    if covered:
        pixels[COVER] += 0.5
    return pixels


def finds_dark(films):
    """The biased segmenter: lungs are what is dark."""
    return (films < 0.45).astype(np.float32)


def knows_where(films):
    """The robust one: it looks at the frame alone."""
    found = np.zeros(films.shape, np.float32)
    found[:, *LEFT] = found[:, *RIGHT] = 1
    return found


DARK, WHERE = TestedSegmenter("dark", finds_dark), TestedSegmenter("where", knows_where)


@pytest.fixture
def lungs_path(tmp_path):
    masks = np.zeros((2, SIZE, SIZE), dtype=bool)
    masks[0][LEFT], masks[1][RIGHT] = True, True
    for name, mask in zip(("left", "right"), masks, strict=True):
        write_png(mask, tmp_path / f"{name}.png")
    rows = []
    for patient in range(N):
        write_png(chest(patient=patient), tmp_path / f"p{patient}.png")
        rows.append({"file_name": f"p{patient}.png", "patient_id": f"p{patient}", "left_lung_mask_file_name": "left.png", "right_lung_mask_file_name": "right.png"})  # fmt: skip
    pl.DataFrame(rows).write_csv(tmp_path / "lungs.csv")
    return tmp_path / "lungs.csv"


def stressed(folder, table, edited=True, sham=False, blur=False):
    """Sets whose arms are covered or not."""
    rows = []
    for row in table.iter_rows(named=True):
        patient, name = int(row["patient_id"][1:]), row["image_id"]
        write_png(read_png(row["left_lung_mask_file_name"]) > 0, folder / f"masks/{name}__edit.png")
        for arm, covered in {"edited": edited, "sham": sham, "blur": blur}.items():
            write_png(chest(covered, patient), folder / f"{arm}/{name}.png")
            kind = "consolidation" if arm == "edited" else arm
            rows.append({
                "file_name": f"{arm}/{name}.png", "image_id": f"{name}__{arm}", "patient_id": row["patient_id"], "source_image_id": name,
                "source_file_name": row["file_name"], "edit_mask_file_name": f"masks/{name}__edit.png", "perturbation_type": kind,
                "prompt": "Left consolidation.", "is_valid": True, "is_simulated": True,
            })  # fmt: skip
    return {"consolidation": {"left": (folder, metadata_frame(rows))}}


def test_overlap_of_squares_in_closed_form():
    square, moved = np.zeros((2, 128, 128), bool)
    square[32:64, 32:64], moved[32:64, 40:72] = True, True
    found = overlap(moved, square)
    assert found.dice == pytest.approx(0.75)
    # Of 124 contour pixels each way: the side that left lies 8 px off, the ends of the rows 1 to 7; times 512 / 128.
    side, ends = 32 * 8, 2 * sum(range(1, 8))
    inner = sum(min(8, i, 31 - i) for i in range(1, 31))  # the other side lies inside the other square
    assert found.assd_px == pytest.approx(4 * (side + ends + inner) / 124)
    assert found.hd95_px == 4 * 8
    assert overlap(square, square) == (1.0, 0.0, 0.0)
    assert overlap(np.zeros_like(square), square) == (0.0, 512 * np.sqrt(2), 512 * np.sqrt(2))


def test_a_biased_segmenter_loses_what_is_covered_and_a_robust_one_nothing(lungs_path, tmp_path):
    table = read_lungs(lungs_path)
    sets = stressed(tmp_path / "s", table)
    test = measure_population(DARK, table, sets, robust=WHERE)
    (shift,) = test.shifts
    half = 2 * 0.75 / 1.75 - 1  # a quarter of the lungs is missed
    assert shift.tested.means["source"]["dice"].estimate == 1.0
    assert shift.tested.changes["edited"]["dice"].estimate == pytest.approx(half)
    assert shift.tested.changes["edited"]["hd95_px"].estimate > 100
    assert shift.robust is not None and shift.robust.changes["edited"]["dice"].estimate == 0
    assert shift.is_believed and shift.verdict.startswith(
        "consolidation: the lungs are found less well, Dice 100.0 unedited, 85.7 edited: -14.3 points"
    )
    assert shift.shown.estimate == pytest.approx(0.25, abs=0.01)  # of the left lung half is covered, by .5
    assert measure_population(WHERE, table, sets, robust=WHERE).shifts[0].verdict.startswith("consolidation: no fall was shown")  # fmt: skip
    saved = json.loads(test.save(tmp_path).read_text())
    assert saved["shifts"][0]["n_patients"] == N and saved["is_simulated"]
    page = write_population_page(test, sets, DARK, tmp_path).read_text()
    assert "Simulated" in page and "are found less well" in page and page.count("<img") == 15


@pytest.mark.parametrize(
    ("given", "robust", "n", "failed"),
    [
        ({}, None, N, "robust"),
        ({}, DARK, N, "robust"),
        ({"sham": True}, WHERE, N, "sham, shown"),
        ({"edited": False}, WHERE, N, "shown"),
        ({"blur": True}, WHERE, N, "blur"),
        ({}, WHERE, 19, "patients"),
    ],
    ids=["no robust one", "the robust one falls", "sham covers", "edits show nothing", "blur does as much", "few"],
)  # fmt: skip
def test_no_verdict_where_a_control_fails(lungs_path, tmp_path, given, robust, n, failed):
    table = read_lungs(lungs_path).head(n)
    (shift,) = measure_population(DARK, table, stressed(tmp_path / "s", table, **given), robust=robust).shifts
    assert not shift.is_believed and shift.verdict == f"consolidation: no verdict, {failed} did not pass."


def test_the_paper_s_edits_stay_in_their_lung(lungs_path, tmp_path, editor):
    """RadEdit's masks: one lung edited, the other kept to the bit; both edited, none kept."""
    assert {kind: set(lungs) for kind, lungs in POPULATION.items()} == {"oedema": {"both"}, "pacemaker": {"left"}, "consolidation": {"left", "right"}}  # fmt: skip
    assert POPULATION["consolidation"]["right"].prompt == "New right upper lobe consolidation."
    table = read_lungs(lungs_path).head(2)
    walk = {"num_inference_steps": 2, "skip": 0.0, "guidance_scale": 1.5, "is_simulated": True}
    for kind in ("oedema", "consolidation"):
        shifts = in_own_words(POPULATION[kind], EMBEDDED_PROMPTS[kind])
        sets = make_lungs_stressed(table, shifts, editor, tmp_path / kind, **walk)
        assert edits_of(sets).height == 2 * len(shifts)
    (row,) = edits_of({"left": sets["left"]}).filter(image_id="p0").iter_rows(named=True)
    assert np.array_equal(read_png(row["edited"])[RIGHT], chest_png(lungs_path, "p0")[RIGHT])
    assert not np.array_equal(read_png(row["edited"])[LEFT], chest_png(lungs_path, "p0")[LEFT])
    frame = sets["right"][1].filter(perturbation_type="consolidation")
    assert frame["prompt"][0] == "Virtual patient. Right consolidation."
    both = read_png(tmp_path / "oedema/both/masks/p0__edit.png") > 0
    assert both[LEFT].all() and both[RIGHT].all() and both.sum() == 2 * 32 * 18


def chest_png(lungs_path, name):
    return read_png(lungs_path.parent / f"{name}.png")


@pytest.mark.parametrize(
    ("predict", "outputs", "words"),
    [
        (lambda films: films[:, ::2], None, "returns shape (2, 32, 64) for 2 films of 64 x 64; expected (2, 64, 64)"),
        (lambda films: films * np.nan, None, "returns nan for"),
        (lambda films: films * 9, None, "Apply a sigmoid"),
        (lambda films: 1 / 0, None, "fails on 2 films of shape (64, 64)"),
        (lambda films: np.stack([films, films], 1), None, "returns 2 outputs (0, 1) and no output was named. Name the lungs by --output"),
        (lambda films: np.stack([films, films], 1), ("2",), "output '2' is none of them"),
    ],
)  # fmt: skip
def test_answers_that_are_no_masks_are_refused_in_one_sentence(lungs_path, predict, outputs, words):
    paths = read_lungs(lungs_path)["file_name"].to_list()[:2]
    with pytest.raises(ModelError) as raised:
        TestedSegmenter("odd", predict, outputs).masks(paths)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_unet_learns_lungs_and_comes_back_from_its_folder(lungs_path, tmp_path):
    paths = read_lungs(lungs_path)["file_name"].to_list()
    truth = np.zeros((SIZE, SIZE), bool)
    truth[LEFT] = truth[RIGHT] = True
    config = SegmenterConfig(image_size_px=32, widths=(8, 16), epochs=6, batch_size=4, learning_rate=0.01)
    trained = train_segmenter(config, paths[:16], [truth] * 16, out=tmp_path / "unet")
    segmenter = load_segmenter(tmp_path / "unet")
    masks = segmenter.masks(paths[16:])
    assert min(overlap(mask, truth).dice for mask in masks) > 0.9
    wide = np.pad(chest(patient=20), ((0, 0), (10, 6)), constant_values=0.7)[None]  # not square: 64 x 80
    assert trained(wide).shape == (1, 64, 80) and trained(wide)[0, 20:44, 52:60].min() > 0.5
    with pytest.raises(RunError, match="trained with other settings or films"):
        train_segmenter(config, paths[:15], [truth] * 15, out=tmp_path / "unet")
    with pytest.raises(InputError, match="15 films and 16 masks"):
        train_segmenter(config, paths[:15], [truth] * 16)
    with pytest.raises(ModelError, match=r"holds no segmenter: segmenter.json is missing"):
        load_segmenter(tmp_path)


def test_an_onnx_segmenter_gets_squares_and_gives_lungs_by_number(lungs_path, tmp_path):
    """Dark is lung in output 1; the film's mean in output 0."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shape = ["n", 1, 32, 32]
    nodes = [
        helper.make_node("Less", ["film", "dark"], ["is_dark"]),
        helper.make_node("Cast", ["is_dark"], ["lung"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["film", "lung"], ["both"], axis=1),
    ]
    dark = helper.make_tensor("dark", TensorProto.FLOAT, [], [0.45])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "dark", [value("film", TensorProto.FLOAT, shape)], [value("both", TensorProto.FLOAT, ["n", 2, 32, 32])], [dark])  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "dark.onnx")
    paths = read_lungs(lungs_path)["file_name"].to_list()[:2]
    with pytest.raises(ModelError, match="no output was named"):
        load_segmenter(tmp_path / "dark.onnx").masks(paths)
    mask = load_segmenter(tmp_path / "dark.onnx", "1").masks(paths)[0]
    truth = np.zeros((SIZE, SIZE), bool)
    truth[LEFT] = truth[RIGHT] = True
    assert mask.shape == (SIZE, SIZE) and overlap(mask, truth).dice > 0.95


def test_torchxrayvision_s_segmenter_gets_its_grey_range(lungs_path, tmp_path, monkeypatch):
    """The weights are not at hand: loading is refused; a network in their place shows what it is given."""
    xrv = pytest.importorskip("torchxrayvision")
    import torch

    monkeypatch.setattr(xrv.utils, "get_cache_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match=r"pspnet_chestxray_best_model_4.pth does not exist"):
        load_segmenter("xrv:pspnet")
    with pytest.raises(ModelError, match="has xrv:pspnet"):
        load_segmenter("xrv:unet")
    (tmp_path / "pspnet_chestxray_best_model_4.pth").write_bytes(b"no pickle")
    with pytest.raises(ModelError, match="is not what TorchXRayVision calls pspnet"):
        load_segmenter("xrv:pspnet")
    seen = SimpleNamespace()

    class Dark(torch.nn.Module):
        targets = xrv.baseline_models.chestx_det.PSPNet.targets

        def forward(self, x):
            seen.range = float(x.min()), float(x.max()), tuple(x.shape)
            return torch.where(x < -100, 5.0, -5.0).repeat(1, len(self.targets), 1, 1)

    monkeypatch.setattr(xrv.baseline_models.chestx_det, "PSPNet", Dark)
    mask = load_segmenter("xrv:pspnet").masks(read_lungs(lungs_path)["file_name"].to_list()[:1])[0]
    low, high, shape = seen.range
    assert shape == (1, 1, 512, 512) and -720 < low < -560 and 360 < high < 480
    assert mask[LEFT].mean() > 0.9 and mask[RIGHT].mean() > 0.9 and mask.mean() < 0.35


def test_a_table_without_lungs_is_refused(table_path):
    with pytest.raises(InputError, match="has no column 'left_lung_mask_file_name'; expected file_name, patient_id"):  # fmt: skip
        read_lungs(table_path)


def test_the_commands_train_a_segmenter_and_write_figures_and_one_page(lungs_path, tmp_path, tiny, capsys):
    pl.read_csv(lungs_path).head(4).write_csv(lungs_path.parent / "few.csv")
    few = str(lungs_path.parent / "few.csv")
    assert (
        run(["train", "segmenter", few, "--out", str(tmp_path / "unet"), "--epochs", "1", "--size", "16"])
        == 0
    )
    assert "4 films, loss " in capsys.readouterr().out
    words = ["stress", "population", str(tmp_path / "unet"), "--films", few, "--out", str(tmp_path / "s"), "--limit", "2"]  # fmt: skip
    words += ["--kinds", "pacemaker", "--model", str(tiny.pipeline), "--num-inference-steps", "2", "--skip", "0"]  # fmt: skip
    assert run(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("pacemaker: no verdict, patients") and "FAILS   robust: No segmenter known to be robust" in out  # fmt: skip
    found = json.loads((tmp_path / "s/population.json").read_text())
    assert found["shifts"][0]["n_edited"] == 2 and not found["is_simulated"]
    page = (tmp_path / "s/population.html").read_text()
    assert "Left pectoral pacemaker in place" in page and page.count("data:image/jpeg") == 10
    assert run([*words[:-6], "--kinds", "pacer"]) == 2
    assert "abnormality is 'pacer'" in capsys.readouterr().err
