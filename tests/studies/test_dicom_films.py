"""DICOM to grey values: every transform against its closed form in the standard."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from synthorax.errors import InputError
from synthorax.studies import read_film

STORED = np.array([[0, 1, 1000], [2047, 2048, 4095]], dtype=np.uint16)


def dataset(stored: np.ndarray, bits: int = 12, **tags) -> Dataset:
    """A small computed radiograph."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid(entropy_srcs=["film"])
    ds.Modality = "CR"
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.SamplesPerPixel = 1
    ds.Rows, ds.Columns = stored.shape[:2]
    ds.BitsAllocated = 8 * stored.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    for name, value in tags.items():
        setattr(ds, name, value)
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    return ds


def film(tmp_path, ds: Dataset):
    path = tmp_path / "film.dcm"
    ds.save_as(path, enforce_file_format=True)
    return read_film(path)


def lut(values, first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "US", [int(value) for value in values])
    return Sequence([item])


def linear(x: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1 with output 0 to 1."""
    return np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def test_12_bits_stored_in_16_are_scaled_by_4095(tmp_path):
    found = film(tmp_path, dataset(STORED, ImagerPixelSpacing=[0.2, 0.1], ViewPosition="PA"))
    np.testing.assert_allclose(found.pixels, STORED / 4095, rtol=1e-6)
    assert found.pixels.dtype == np.float32
    assert (found.bits_stored, found.photometric_interpretation) == (12, "MONOCHROME2")
    assert found.pixel_spacing_mm == (0.2, 0.1) and found.view_position == "PA" and found.applied == ()


def test_monochrome1_is_inverted(tmp_path):
    found = film(tmp_path, dataset(STORED, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(found.pixels, 1 - STORED / 4095, atol=1e-6)
    assert found.photometric_interpretation == "MONOCHROME1" and found.applied == ("MONOCHROME1 inverted",)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (None, linear(STORED.astype(float), 2048, 1024)),
        ("LINEAR", linear(STORED.astype(float), 2048, 1024)),
        ("LINEAR_EXACT", np.clip((STORED - 2048.0) / 1024 + 0.5, 0, 1)),
        ("SIGMOID", 1 / (1 + np.exp(-4 * (STORED - 2048.0) / 1024))),
    ],
)
def test_a_window_follows_its_function(tmp_path, function, expected):
    tags = {"WindowCenter": 2048, "WindowWidth": 1024}
    found = film(tmp_path, dataset(STORED, **tags, **({"VOILUTFunction": function} if function else {})))
    np.testing.assert_allclose(found.pixels, expected, atol=1e-6)
    assert found.applied == (f"window 2048/1024 {function or 'LINEAR'}",)


def test_of_several_windows_the_first_counts(tmp_path):
    found = film(tmp_path, dataset(STORED, WindowCenter=[1000, 2048], WindowWidth=[500, 4096]))
    np.testing.assert_allclose(found.pixels, linear(STORED.astype(float), 1000, 500), atol=1e-6)


@pytest.mark.parametrize("slope", [2.0, -1.0])
def test_the_window_is_of_rescaled_values(tmp_path, slope):
    rescaled = STORED * slope - 1024
    tags = {"RescaleSlope": slope, "RescaleIntercept": -1024, "WindowCenter": 500, "WindowWidth": 2000}
    found = film(tmp_path, dataset(STORED, **tags))
    np.testing.assert_allclose(found.pixels, linear(rescaled, 500, 2000), atol=1e-6)
    assert found.applied[0] == f"rescale {slope:g} x + -1024"


def test_rescale_without_window_keeps_the_direction_that_it_states(tmp_path):
    up = film(tmp_path, dataset(STORED, RescaleSlope=2, RescaleIntercept=-1024))
    down = film(tmp_path, dataset(STORED, RescaleSlope=-1, RescaleIntercept=4095))
    np.testing.assert_allclose(up.pixels, STORED / 4095, atol=1e-6)
    np.testing.assert_allclose(down.pixels, 1 - STORED / 4095, atol=1e-6)


def test_signed_values_span_their_signed_range(tmp_path):
    stored = np.array([[-2048, -1], [0, 2047]], dtype=np.int16)
    found = film(tmp_path, dataset(stored))
    np.testing.assert_allclose(found.pixels, (stored + 2048.0) / 4095, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_voi_lut_comes_before_the_window_and_holds_its_ends(tmp_path, bits):
    top = 2**bits - 1
    values = np.linspace(0, top, 3000).astype(int)  # more entries than 8 bits can count
    tags = {"VOILUTSequence": lut(values, 500, bits), "WindowCenter": 1, "WindowWidth": 2}
    found = film(tmp_path, dataset(STORED, **tags))
    expected = values[np.clip(STORED.astype(int) - 500, 0, 2999)] / top
    np.testing.assert_allclose(found.pixels, expected, atol=1e-6)
    assert found.applied == ("VOI LUT",)


def test_a_voi_lut_looks_up_rescaled_values(tmp_path):
    values = np.arange(4096)[::-1]
    tags = {"RescaleSlope": 1, "RescaleIntercept": 100, "VOILUTSequence": lut(values, 100, 12)}
    np.testing.assert_allclose(film(tmp_path, dataset(STORED, **tags)).pixels, 1 - STORED / 4095, atol=1e-6)


def test_a_12_bit_modality_lut_feeds_the_window(tmp_path):
    values = (np.arange(4096) // 2).astype(int)
    tags = {"ModalityLUTSequence": lut(values, 0, 12), "WindowCenter": 1024, "WindowWidth": 2048}
    found = film(tmp_path, dataset(STORED, **tags))
    np.testing.assert_allclose(found.pixels, linear(values[STORED].astype(float), 1024, 2048), atol=1e-6)
    assert found.applied[0] == "modality LUT"


def test_padding_is_black_also_after_inversion(tmp_path):
    tags = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0, "PixelPaddingRangeLimit": 1}
    found = film(tmp_path, dataset(STORED, **tags))
    expected = np.where(STORED <= 1, 0, 1 - STORED / 4095)
    np.testing.assert_allclose(found.pixels, expected, atol=1e-6)
    assert found.applied[-1] == "padding 0 to 1 to 0"


def test_bits_above_the_stored_ones_are_ignored(tmp_path):
    found = film(tmp_path, dataset(STORED | 0xF000))
    np.testing.assert_allclose(found.pixels, STORED / 4095, rtol=1e-6)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (["L", "F"], lambda film: film),
        (["R", "F"], lambda film: film[:, ::-1]),
        (["L", "H"], lambda film: film[::-1]),
        (["R", "H"], lambda film: film[::-1, ::-1]),
        (["F", "L"], lambda film: film.T),
        (["H", "R"], lambda film: film.T[::-1, ::-1]),
        (["RP", "FA"], lambda film: film[:, ::-1]),
        (["A", "F"], lambda film: film),
        (["P", "H"], lambda film: film[::-1]),
        (["F", "A"], lambda film: film.T),
        (["?", "?"], lambda film: film),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_film_is_turned_as_patient_orientation_says(tmp_path, orientation, turn):
    found = film(tmp_path, dataset(STORED, PatientOrientation=orientation, PixelSpacing=[0.2, 0.1]))
    upright = turn(STORED / 4095)
    np.testing.assert_allclose(found.pixels, upright, rtol=1e-6)
    assert found.pixel_spacing_mm == ((0.1, 0.2) if upright.shape == (3, 2) else (0.2, 0.1))


def test_a_view_alone_turns_nothing(tmp_path):
    found = film(tmp_path, dataset(STORED, ViewPosition="AP"))
    np.testing.assert_allclose(found.pixels, STORED / 4095, rtol=1e-6)
    assert found.view_position == "AP"


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_lossless_compression_changes_nothing(tmp_path, syntax, kind):
    noise = np.random.default_rng(3).integers(0, 4096, (80, 72))
    stored = (noise - (2048 if kind is np.int16 else 0)).astype(kind)
    ds = dataset(stored)
    ds.compress(syntax, generate_instance_uid=False)
    np.testing.assert_allclose(film(tmp_path, ds).pixels, noise / 4095, atol=1e-6)


def test_a_jpeg_inside_dicom_is_decoded(tmp_path):
    flat = np.full((16, 16), 90, dtype=np.uint8)
    flat[:, 8:] = 200
    buffer = io.BytesIO()
    Image.fromarray(flat).save(buffer, format="JPEG", quality=100)
    ds = dataset(flat, bits=8)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([buffer.getvalue()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    np.testing.assert_allclose(film(tmp_path, ds).pixels, flat / 255, atol=2 / 255)


def test_colour_becomes_luma(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    ds = dataset(colours, bits=8, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0)
    np.testing.assert_allclose(film(tmp_path, ds).pixels, [[0.299, 0.587, 0.114]], atol=1e-6)


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"NumberOfFrames": 7}, "has 7 frames; expected one. Export the frame that matters"),
        ({"Modality": "CT"}, "has modality CT; expected a radiograph (CR, DX, DR, RG, RF, OT)."),
        ({"PresentationIntentType": "FOR PROCESSING"}, "is a raw image ('FOR PROCESSING')"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "has photometric interpretation PALETTE COLOR"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "has rescale slope 0"),
        (
            {"WindowCenter": 5, "WindowWidth": 0},
            "has a window that cannot be applied (The (0028,1051) Window Width must",
        ),
        ({"Rows": 9}, "(Explicit VR Little Endian) cannot be decoded"),
    ],
)
def test_what_cannot_be_a_film_gets_one_sentence(tmp_path, tags, sentence):
    with pytest.raises(InputError) as caught:
        film(tmp_path, dataset(STORED, **tags))
    assert str(caught.value).startswith(str(tmp_path / "film.dcm")) and sentence in str(caught.value)


def test_a_file_cut_short_gets_one_sentence(tmp_path):
    path = tmp_path / "film.dcm"
    dataset(STORED).save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"film\.dcm cannot be read as DICOM|film\.dcm has"):
        read_film(path)


@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_expb"]
)
def test_files_of_other_makers_decode_to_the_same_film(tmp_path, name):
    # pydicom's wheel holds one signed 16-bit image in several transfer syntaxes, with rescale and window.
    films = []
    for which in ("MR_small", name):
        ds = dcmread(get_testdata_file(f"{which}.dcm", download=False))
        ds.Modality = "CR"
        films.append(film(tmp_path, ds).pixels)
    np.testing.assert_array_equal(films[0], films[1])
    assert films[0].std() > 0
