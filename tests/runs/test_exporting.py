"""A dataset handed on: whole, in four forms, marked as synthetic, without identity, and never more than was asked for."""

import json
import tarfile

import numpy as np
import polars as pl
import pydicom
import pytest

from synthorax.cli import run as command
from synthorax.dataset import metadata_frame, read_metadata, read_png, write_metadata, write_png
from synthorax.errors import InputError
from synthorax.runs.selecting import select

IDENTITY = "10000032"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    rows = []
    for i in range(12):
        film = np.full((9, 7), i / 12)
        film[:, 3] = 1
        write_png(film, out / "synthetic" / f"edits/{i}.png", Synthetic="YES")
        write_png(film > 0.5, out / "synthetic" / f"masks/{i}.png")
        rows.append(
            {"file_name": f"edits/{i}.png", "edit_mask_file_name": f"masks/{i}.png", "image_id": f"edits-{i}",
             "patient_id": f"{IDENTITY}{i // 2}", "seed": i, "score_edit": i / 12, "is_valid": i != 11, "is_synthetic": True,
             "method": "radedit", "model_sha256": "ab" * 32, "perturbation_type": "insertion" if i % 3 else "deletion",
             "labels_after": ["Pneumonia"]}
        )  # fmt: skip
    write_metadata(metadata_frame(rows), out / "synthetic")
    return out


def _export(run, out, *words) -> None:
    assert command(["runs", "export", str(run), "--out", str(out), *words]) == 0


def test_an_imagefolder_is_a_dataset_again(run, tmp_path):
    _export(
        run,
        tmp_path / "d",
        "--where",
        "score_edit > .2 and is_valid",
        "--n",
        "6",
        "--stratify",
        "perturbation_type",
    )
    rows = read_metadata(tmp_path / "d")
    assert rows.height == 6 and rows["score_edit"].min() > 0.2 and rows["is_valid"].all()
    for name in [*rows["file_name"], *rows["edit_mask_file_name"]]:
        assert (tmp_path / "d" / name).read_bytes() == (run / "synthetic" / name).read_bytes()
    assert len(list((tmp_path / "d").rglob("*.png"))) == 12, "and nothing else"


def test_webdataset_shards_open_and_are_the_same_bytes_each_time(run, tmp_path):
    import datasets

    for name in ("a", "b"):
        _export(run, tmp_path / name, "--to", "webdataset")
    shard = "shard-000000.tar"
    assert (tmp_path / "a" / shard).read_bytes() == (tmp_path / "b" / shard).read_bytes()
    with tarfile.open(tmp_path / "a" / shard) as tar:
        assert tar.getnames()[:2] == ["edits-0.png", "edits-0.json"]
    files = str(tmp_path / "a" / shard)
    rows = datasets.load_dataset(
        "webdataset", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(rows) == 12 and rows[3]["json"]["seed"] == 3
    np.testing.assert_allclose(
        np.asarray(rows[3]["png"]) / 255, read_png(run / "synthetic/edits/3.png"), atol=1e-6
    )


def test_dicom_is_marked_synthetic_and_knows_no_patient(run, tmp_path):
    _export(run, tmp_path / "d", "--to", "dicom", "--uid-root", "1.2.3.4.")
    files = sorted((tmp_path / "d").rglob("*.dcm"))
    films = [pydicom.dcmread(file) for file in files]
    assert len(films) == 12 and len({film.PatientID for film in films}) == 6
    for uid in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert len({film[uid].value for film in films}) == 12
        assert all(film[uid].value.startswith("1.2.3.4.") for film in films)
    for i, (file, film) in enumerate(zip(files, films, strict=True)):
        assert film[0x0008, 0x001C].value == "YES" and list(film.ImageType) == ["DERIVED", "SECONDARY"]
        assert IDENTITY.encode() not in file.read_bytes()
        np.testing.assert_allclose(
            film.pixel_array / 255, read_png(run / f"synthetic/edits/{i}.png"), atol=1e-6
        )


def test_hugging_face_loads_it_from_disk(run, tmp_path):
    import datasets

    _export(run, tmp_path / "d", "--to", "hf", "--where", "seed < 4")
    rows = datasets.load_from_disk(str(tmp_path / "d"))
    assert rows["seed"][:] == [0, 1, 2, 3] and rows[1]["image"].size == (7, 9)
    assert str(run).encode() not in b"".join(file.read_bytes() for file in (tmp_path / "d").rglob("*.arrow"))


def test_a_sample_keeps_shares_and_does_not_depend_on_the_order(run):
    frame = read_metadata(run / "synthetic")
    some = select(frame, n=6, seed=3, stratify="perturbation_type")
    assert some["perturbation_type"].value_counts().sort("count").rows() == [
        ("deletion", 2),
        ("insertion", 4),
    ]
    assert some["seed"].is_sorted()
    shuffled = select(
        frame.sample(fraction=1, shuffle=True, seed=1), n=6, seed=3, stratify="perturbation_type"
    )
    assert set(shuffled["seed"]) == set(some["seed"])
    assert set(select(frame, n=6, seed=4)["seed"]) != set(select(frame, n=6, seed=5)["seed"])
    assert select(frame, n=5, stratify="preset").height == 5, "one stratum of NULLs is a stratum"
    assert select(frame, n=5, stratify="labels_after").height == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "dicon"], "expected one of dicom, hf, imagefolder, webdataset. Did you mean 'dicom'?"),
        (["--where", "beauty > 1"], "--where 'beauty > 1' cannot be used"),
        (["--where", "seed >"], "--where 'seed >' cannot be used"),
        (["--where", "seed > 100"], "no row is left to export; loosen --where."),
        (["--n", "13"], "--n is 13, but 12 rows fulfil the condition; ask for fewer."),
        (["--stratify", "beauty"], "--stratify is 'beauty'; expected one of file_name"),
        (["--to", "dicom", "--uid-root", "abc"], "--uid-root is 'abc'"),
    ],
)
def test_what_cannot_be_exported_gets_one_sentence(run, tmp_path, capsys, words, said):
    assert command(["runs", "export", str(run), "--out", str(tmp_path / "d"), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_in_use_is_refused(run, tmp_path, capsys):
    (tmp_path / "old.png").touch()
    assert command(["runs", "export", str(run), "--out", str(tmp_path)]) == 2
    assert "is not empty; give a new folder" in capsys.readouterr().err


def test_a_manifest_cannot_lead_out_of_its_folder(run, tmp_path):
    from synthorax.runs.exporting import export

    (tmp_path / "secret.png").touch()
    (tmp_path / "d").mkdir()
    frame = read_metadata(run / "synthetic").head(1).with_columns(pl.lit("../secret.png").alias("file_name"))
    with pytest.raises(InputError, match=r"'\.\./secret\.png' in the metadata of .* leads out of the folder"):
        export(frame, tmp_path / "d", tmp_path / "out", "imagefolder")


def test_status_counts_as_json(stub_run, tmp_path, capsys):
    stub_run(tmp_path, 3)
    capsys.readouterr()
    assert command(["runs", "status", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        str(tmp_path): {"films": {"done": 3, "refused": 0, "pending": 0}}
    }
