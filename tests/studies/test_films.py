"""PNG and JPEG to grey values, and RadEdit's preprocessing, by closed form."""

import numpy as np
import pytest
from PIL import Image

from synthorax.errors import InputError
from synthorax.studies import Film, prepare, read_film
from synthorax.studies.films import check_film

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def saved(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


def palette_picture() -> Image.Image:
    image = Image.fromarray(RAMP // 10, mode=None).convert("P")
    image.putpalette([value for index in range(256) for value in (min(index * 10, 255),) * 3])
    return image


def rgba_picture(alpha: int) -> Image.Image:
    return Image.fromarray(np.dstack([RAMP, RAMP, RAMP, np.full_like(RAMP, alpha)]))


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("grey", Image.fromarray(RAMP), RAMP / 255),
        ("colour", Image.fromarray(np.dstack([RAMP] * 3)), RAMP / 255),
        ("palette", palette_picture(), RAMP / 255),
        ("opaque", rgba_picture(255), RAMP / 255),
        ("transparent is black", rgba_picture(0), RAMP * 0.0),
        ("half transparent", rgba_picture(51), RAMP / 255 * 0.2),
        ("one bit", Image.fromarray(RAMP > 100), RAMP > 100),
    ],
)
def test_an_8_bit_png_has_its_grey_values(tmp_path, name, image, expected):
    film = read_film(saved(image, tmp_path / "film.png"))
    assert film.pixels.dtype == np.float32 and film.bits_stored == 8
    np.testing.assert_allclose(film.pixels, expected, atol=1e-6)


def test_a_16_bit_png_keeps_its_16_bits(tmp_path):
    values = np.array([[0, 1, 255], [256, 4095, 65535]], dtype=np.uint16)
    film = read_film(saved(Image.fromarray(values), tmp_path / "film.png"))
    assert film.bits_stored == 16
    np.testing.assert_allclose(film.pixels, values / 65535, rtol=1e-6)


def test_a_colour_film_weighs_its_channels_as_luma(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    film = read_film(saved(Image.fromarray(colours), tmp_path / "film.png"))
    np.testing.assert_allclose(film.pixels, [[0.299, 0.587, 0.114]], atol=0.5 / 255 + 1e-6)
    assert film.applied == ("RGB to grey",)


def test_a_jpeg_is_read_and_turned_as_its_exif_says(tmp_path):
    flat = np.repeat(np.repeat(np.array([[20, 200]], dtype=np.uint8), 16, axis=0), 8, axis=1)
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    plain = read_film(saved(Image.fromarray(flat), tmp_path / "plain.jpg", quality=100))
    turned = read_film(saved(Image.fromarray(flat), tmp_path / "turned.jpg", quality=100, exif=exif))
    np.testing.assert_allclose(plain.pixels, flat / 255, atol=2 / 255)
    np.testing.assert_allclose(turned.pixels, plain.pixels[::-1, ::-1], atol=1e-6)
    assert turned.applied == ("EXIF orientation",) and plain.applied == ()


def test_the_kind_is_told_by_content_and_not_by_suffix(tmp_path):
    path = tmp_path / "film.jpg"
    Image.fromarray(RAMP).save(path, format="PNG")
    np.testing.assert_allclose(read_film(path).pixels, RAMP / 255, atol=1e-6)


def test_prepare_is_the_identity_up_to_scale_on_a_film_of_that_size():
    pixels = np.linspace(0.25, 0.75, 64, dtype=np.float32).reshape(8, 8)
    np.testing.assert_allclose(prepare(Film(pixels), 8), (pixels - 0.25) / 0.5, atol=1e-6)


def test_prepare_crops_the_long_side_in_the_centre():
    # 8 rows of 12: columns 2..9 stay; the ends, which hold the extremes, don't count for the range.
    pixels = np.tile(np.arange(12, dtype=np.float32) / 11, (8, 1))
    np.testing.assert_allclose(prepare(pixels, 8), np.tile(np.arange(8) / 7, (8, 1)), atol=1e-6)
    np.testing.assert_allclose(prepare(pixels.T, 8), np.tile(np.arange(8) / 7, (8, 1)).T, atol=1e-6)


def test_prepare_halves_a_ramp_by_averaging_neighbours():
    # Antialiased bilinear over a linear ramp is the ramp at the new pixels' centres, away from the border.
    pixels = np.tile(np.arange(32, dtype=np.float32) / 31, (32, 1))
    halved = prepare(pixels, 16)[8, 1:-1]
    steps = np.diff(halved)
    assert halved.shape == (14,) and (steps > 0).all()
    np.testing.assert_allclose(steps[1:-1], steps[6], rtol=1e-4)


def test_prepare_refuses_a_blank_film():
    with pytest.raises(InputError, match=r"the film is blank: every pixel is 0\.5\. Leave it out"):
        prepare(np.full((9, 9), 0.5, dtype=np.float32), 4)


@pytest.mark.parametrize("read", [read_film, check_film])
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("absent.png", None, "does not exist; put the film there, or correct the path."),
        ("notes.txt", b"no film", "is not a film that can be read: expected PNG, JPEG or DICOM"),
        ("empty.png", b"", "is not a film that can be read"),
        ("torn.png", b"\x89PNG\r\n\x1a\n" + b"torn", "is damaged and cannot be read"),
    ],
)
def test_what_is_no_film_gets_one_sentence(tmp_path, read, name, content, sentence):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path)) and sentence in str(caught.value)


def test_a_film_cut_short_is_damaged(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / "film.png")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"is damaged and cannot be read .*copy it again from its source"):
        read_film(path)


def test_a_cmyk_jpeg_is_refused(tmp_path):
    path = saved(Image.new("CMYK", (4, 4)), tmp_path / "film.jpg")
    with pytest.raises(InputError, match="has colour mode CMYK; expected grey, RGB or palette"):
        check_film(path)
