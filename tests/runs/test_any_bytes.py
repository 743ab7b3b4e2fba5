"""Whatever bytes a file has, it is read or refused with a sentence (10,000 of them: benchmarks/fuzz.py)."""

import importlib.util
import sys
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pydicom.data
import pytest

from synthorax.dataset import metadata_frame, read_metadata, write_metadata, write_png
from synthorax.errors import InputError
from synthorax.studies import read_film
from synthorax.studies.films import check_film

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
SMALL_RLE = Path(pydicom.data.__file__).parent / "test_files" / "MR_small_RLE.dcm"


def test_a_few_hundred_mutated_inputs():
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    counts, wrong = module.fuzz(300)
    assert not wrong and sum(counts.values()) == 300
    assert {said for _, said in counts} == {"read", "refused"}


def test_a_damaged_manifest_gets_a_sentence(tmp_path):
    path = write_metadata(metadata_frame([{"file_name": "a.png"}]), tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"metadata\.parquet is damaged .* give the command that made"):
        read_metadata(tmp_path)


def test_a_manifest_of_other_columns_gets_a_sentence(tmp_path):
    frame = metadata_frame([{"file_name": "a.png"}]).with_columns(pl.col("seed").cast(pl.String))
    write_metadata(frame, tmp_path)
    with pytest.raises(InputError, match=r"column 'seed' is not as in schema version 1"):
        read_metadata(tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(12_000, 10_000), (60_000, 60_000)])
def test_a_picture_that_claims_too_many_pixels_is_refused_before_decoding(tmp_path, width, height):
    write_png(np.zeros((4, 4)), tmp_path / "film.png")
    data = bytearray((tmp_path / "film.png").read_bytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "film.png").write_bytes(data)
    for reader in (read_film, check_film):
        with pytest.raises(InputError, match=r"claims 12000 x 10000 px|exceeds limit"):
            reader(tmp_path / "film.png")


@pytest.mark.filterwarnings("ignore")
def test_a_dicom_that_claims_too_many_pixels_is_refused_before_decoding(tmp_path):
    ds = pydicom.dcmread(SMALL_RLE)
    ds.Modality, ds.Rows, ds.Columns = "CR", 60_000, 60_000
    ds.save_as(tmp_path / "film.dcm")
    with pytest.raises(InputError, match=r"film\.dcm claims 60000 x 60000 px; expected at most 100,000,000"):
        read_film(tmp_path / "film.dcm")
