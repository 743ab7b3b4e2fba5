import subprocess
import sys

import numpy as np
import pytest
import torch

from synthorax import editing
from synthorax.dataset import write_png
from synthorax.editing import MaskWarning, composition, edit, edit_film, evaluations
from synthorax.errors import InputError

PROMPTS = ["Left effusion.", "Enlarged heart.", "No findings."]
SETTINGS = {"guidance_scale": 3.0, "num_inference_steps": 10, "skip": 0.3}


def box(*sides, shape=(32, 32)):
    mask = np.zeros(shape, dtype=bool)
    mask[slice(*sides[:2]), slice(*sides[2:])] = True
    return mask


def test_pixels_in_keep_are_the_sources_and_the_edit_is_where_it_was_asked(gaussian, films):
    edit_masks = [box(8, 24, 0, 12)] * 3
    keep_masks = [box(0, 32, 17, 32)] * 3  # 17 is no multiple of the cell: pixels decide, not cells
    edited = edit(
        films,
        PROMPTS,
        model=gaussian,
        seeds=[1, 2, 3],
        edit_masks=edit_masks,
        keep_masks=keep_masks,
        **SETTINGS,
    )
    assert (
        edited.dtype == np.float32 and edited.shape == films.shape and 0 <= edited.min() <= edited.max() <= 1
    )
    assert np.array_equal(edited[:, keep_masks[0]], films[:, keep_masks[0]])
    change = edited - films
    assert change[0, edit_masks[0]].min() > 0.05 and change[2, edit_masks[0]].max() < -0.02
    assert (
        np.abs(change[:, ~edit_masks[0]]).max() < 1e-4
    )  # free band: inverted and edited with the same empty prompt


def test_keep_masks_content_is_honoured(gaussian, films):
    top, bottom = box(0, 16, 0, 32), box(16, 32, 0, 32)
    edited = {
        name: edit(films[:1], PROMPTS[:1], model=gaussian, seeds=[1], keep_masks=[mask], **SETTINGS)[0]
        for name, mask in {"top": top, "bottom": bottom, "none": None}.items()
    }
    for name, mask in {"top": top, "bottom": bottom}.items():
        assert np.array_equal(edited[name][mask], films[0][mask])
        assert np.abs(edited[name] - films[0])[~mask].max() > 0.05
    assert np.abs(edited["none"] - films[0]).min() > 0.01


def test_a_films_result_does_not_depend_on_its_batch(gaussian, films):
    masks = {
        "edit_masks": [box(8, 24, 0, 12), None, box(0, 8, 0, 8)],
        "keep_masks": [None, box(0, 32, 17, 32), None],
    }

    def run(order, batch_size):
        rows = {name: [values[i] for i in order] for name, values in masks.items()}
        sources = [["", "No findings.", ""][i] for i in order]
        return edit(
            films[order], [PROMPTS[i] for i in order], model=gaussian, seeds=[[7, 8, 9][i] for i in order],
            inversion_prompts=sources, batch_size=batch_size, **rows, **SETTINGS,
        )  # fmt: skip

    whole = run([0, 1, 2], 8)
    assert np.array_equal(run([0, 1, 2], 1), whole)
    assert np.array_equal(run([2, 0, 1], 2)[[1, 2, 0]], whole)
    assert np.array_equal(run([1], 1)[0], whole[1])


def test_a_real_unet_edits_alike_in_every_batch_up_to_rounding(tiny_model):
    films = np.random.default_rng(1).uniform(0, 1, (3, 32, 32)).astype(np.float32)
    settings = {"model": tiny_model, "keep_masks": [box(0, 32, 16, 32)] * 3, **SETTINGS}
    whole = edit(films, PROMPTS, seeds=[1, 2, 3], batch_size=3, **settings)
    single = edit(films, PROMPTS, seeds=[1, 2, 3], batch_size=1, **settings)
    np.testing.assert_allclose(single, whole, atol=1e-4)
    assert np.array_equal(whole[:, :, 16:], films[:, :, 16:])
    assert np.abs(whole - films)[:, :, :8].max() > 1e-3
    padded = {
        tuple(order): edit(
            films[order], [PROMPTS[i] for i in order], seeds=[[1, 2, 3][i] for i in order],
            batch_size=2, pad_batches=True, **{**settings, "keep_masks": None},
        )
        for order in ([0, 1, 2], [2, 0, 1], [1])
    }  # fmt: skip
    assert np.array_equal(padded[2, 0, 1][[1, 2, 0]], padded[0, 1, 2])
    assert np.array_equal(padded[(1,)][0], padded[0, 1, 2][1])
    other = edit(films, PROMPTS, seeds=[4, 5, 6], batch_size=3, **settings)
    assert np.abs(other - whole).max() > 1e-4


@pytest.mark.parametrize("method", sorted(editing.METHODS))
@pytest.mark.parametrize(("steps", "skip"), [(10, 0.0), (10, 0.3), (10, 0.99), (1, 0.0)])
def test_number_of_evaluations_is_the_stated_one(gaussian, films, method, steps, skip):
    masks = {"edit_masks": [box(8, 16, 8, 16)] * 3} if method == "diffedit" else {}
    edit(
        films, PROMPTS, model=gaussian, seeds=[1, 2, 3], method=method, inversion_prompts=["No findings."] * 3,
        guidance_scale=2.0, num_inference_steps=steps, skip=skip, batch_size=2, **masks,
    )  # fmt: skip
    assert gaussian.n_rows == 3 * evaluations(method, steps, skip)


def test_evaluations_of_the_model_cards_recipe():
    assert evaluations("radedit", 100, 0.3) == 70 + 2 * 70


def test_ddpm_inversion_is_radedit_without_masks(gaussian, films):
    settings = {"model": gaussian, "seeds": [1, 2, 3], **SETTINGS}
    assert np.array_equal(
        edit(films, PROMPTS, method="ddpm-inversion", **settings), edit(films, PROMPTS, **settings)
    )
    with pytest.raises(
        InputError, match=r"method 'sdedit' knows no masks, but masks were given\. Take method 'radedit'"
    ):
        edit(films, PROMPTS, method="sdedit", edit_masks=[None, box(0, 8, 0, 8), None], **settings)


def test_guidance_leaves_alone_what_the_negative_prompt_says_too(gaussian, films):
    strong = SETTINGS | {"guidance_scale": 15.0}
    same = dict(model=gaussian, seeds=[1, 2, 3], inversion_prompts=PROMPTS, **strong)
    assert np.array_equal(edit(films, PROMPTS, negative_prompts=PROMPTS, **same), films)
    assert np.abs(edit(films, PROMPTS, **same) - films).max() > 0.05  # pushed away from the empty prompt


def test_thin_masks_are_reported_with_the_films_number(gaussian, films):
    drain = box(0, 32, 13, 14)
    settings = {"model": gaussian, "seeds": [1, 2, 3], **SETTINGS}
    with pytest.warns(
        MaskWarning, match=r"keep_masks\[1\] has 32 of 32 px in parts thinner than a latent cell \(4 px\)"
    ):
        edited = edit(films, PROMPTS, keep_masks=[None, drain, None], **settings)
    assert np.array_equal(edited[1][drain], films[1][drain])
    with pytest.warns(MaskWarning) as warned:  # one for all films
        edit(films, PROMPTS, keep_masks=[drain, drain, None], **settings)
    assert len(warned) == 1 and str(warned[0].message).endswith("So it is with 2 of 3 films.")
    told = []
    edit(
        films,
        PROMPTS,
        edit_masks=[drain, None, None],
        report=lambda i, text: told.append((i, text)),
        **settings,
    )
    assert [i for i, _ in told] == [0] and told[0][1].startswith(
        "edit_masks[0] is nowhere as wide as a latent cell"
    )


def test_edit_mask_wholly_kept_is_reported_and_gives_the_source(gaussian, films):
    with pytest.warns(
        MaskWarning, match=r"keep_masks\[0\] covers every latent cell of the edit mask: keep wins"
    ):
        edited = edit(
            films[:1], PROMPTS[:1], model=gaussian, seeds=[1],
            edit_masks=[box(8, 16, 8, 16)], keep_masks=[np.ones((32, 32), bool)], **SETTINGS,
        )  # fmt: skip
    assert np.array_equal(edited, films[:1])


def test_paste_keeps_the_detail_that_the_autoencoder_loses(tiny_model):
    films = np.random.default_rng(2).uniform(0, 1, (1, 32, 32)).astype(np.float32)
    settings = {
        "model": tiny_model,
        "seeds": [1],
        "inversion_prompts": ["Left effusion."],
        **SETTINGS,
        "guidance_scale": 1.0,
    }
    pasted = edit(films, PROMPTS[:1], **settings)
    plain = edit(films, PROMPTS[:1], paste=False, **settings)
    assert np.abs(pasted - films).max() < 1e-3  # a null edit is the source ...
    assert np.abs(plain - films).mean() > 0.05  # ... although this untrained autoencoder cannot draw it


@pytest.mark.parametrize("shape", [(48, 40), (64, 64), (24, 32)], ids=["portrait", "larger", "smaller"])
def test_films_of_any_size_keep_their_size(gaussian, shape):
    films = np.random.default_rng(3).uniform(0.3, 0.6, (2, *shape)).astype(np.float32)
    half = np.zeros(shape, dtype=bool)
    half[:, shape[1] // 2 :] = True
    edited = edit(films, PROMPTS[:2], model=gaussian, seeds=[1, 2], keep_masks=[half, half], **SETTINGS)
    assert edited.shape == films.shape
    assert np.array_equal(edited[:, half], films[:, half])
    assert (edited - films)[0, :, 1 : shape[1] // 4].min() > 0.05


def test_film_goes_to_the_models_square_and_back():
    smooth = torch.linspace(0, 1, 40)[None, None].expand(1, 64, 40).contiguous()
    square = composition.to_model(smooth, 32)
    assert square.shape == (1, 32, 32) and square[0, :, :5].max() == 0 and square[0, :, -5:].max() == 0
    back = composition.from_model(square, 64, 40)
    assert (back - smooth)[..., 4:-4].abs().max() < 0.03
    same = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(composition.from_model(composition.to_model(same, 32), 32, 32), same)


def test_seam_lies_in_the_free_band():
    edit_mask, keep_mask = box(0, 32, 0, 10), box(0, 32, 20, 32)
    weight = composition.change_weight(edit_mask, keep_mask, (32, 32), feather_px=8)
    assert (weight[keep_mask] == 0).all() and (weight[edit_mask] == 1).all()
    np.testing.assert_allclose(weight[0, 10:20], [1, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    narrow = composition.change_weight(box(0, 32, 0, 17), keep_mask, (32, 32), feather_px=8)
    np.testing.assert_allclose(narrow[0, 16:20], [1, 3 / 4, 2 / 4, 1 / 4])
    assert np.array_equal(
        composition.change_weight(~keep_mask, keep_mask, (32, 32), 8), (~keep_mask).astype(np.float32)
    )
    assert (composition.change_weight(None, None, (32, 32), 8) == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"images": np.zeros((4, 4), np.float32)},
            r"images has shape \(4, 4\); expected \(films, height, width\).*images\[None\]",
        ),
        (
            {"images": np.zeros((1, 32, 32), np.int64)},
            r"images has dtype int64; expected float32 in \[0, 1\], uint8 or uint16",
        ),
        (
            {"images": np.full((1, 32, 32), 255.0, np.float32)},
            r"images\[0\] goes from 255 to 255; expected \[0, 1\]",
        ),
        ({"images": np.full((1, 32, 32), np.nan, np.float32)}, r"images\[0\] goes from nan to nan"),
        (
            {"prompts": "Left effusion."},
            "prompts has one text for 1 films; expected a list with one entry a film",
        ),
        ({"seeds": [1, 2]}, "seeds has 2 entries for 1 films"),
        ({"inversion_prompts": []}, "inversion_prompts has 0 entries for 1 films"),
        ({"method": "radedti"}, "method is 'radedti'; expected one of .* Did you mean 'radedit'"),
        ({"skip": 1.0}, "skip is 1.0; expected a fraction"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more rows"),
        (
            {"edit_masks": np.ones((1, 8, 8), bool)},
            r"edit_masks\[0\] has shape \(8, 8\); expected \(32, 32\)",
        ),
        ({"keep_masks": np.ones((1, 32, 32), np.uint8)}, r"keep_masks\[0\] has dtype uint8; expected bool"),
    ],
)
def test_bad_input_gets_one_sentence(gaussian, films, change, message):
    call = {"images": films[:1], "prompts": PROMPTS[:1], "seeds": [1], "model": gaussian, **change}
    with pytest.raises(InputError, match=message):
        edit(call.pop("images"), call.pop("prompts"), **call)


def test_one_film_from_a_png_or_an_array(gaussian, films, tmp_path):
    mask = box(8, 24, 0, 12)
    write_png(films[0], tmp_path / "film.png")
    write_png(mask, tmp_path / "mask.png")
    from_files = edit_film(
        tmp_path / "film.png", "Left effusion.", str(tmp_path / "mask.png"), ~mask, model=gaussian, **SETTINGS
    )
    source = np.rint(films[0] * 255).astype(np.float32) / 255
    from_arrays = edit_film(source, "Left effusion.", mask, ~mask, model=gaussian, **SETTINGS)
    assert from_files.shape == (32, 32) and np.array_equal(from_files, from_arrays)
    assert np.array_equal(from_files[~mask], source[~mask]) and (from_files - source)[mask].min() > 0.05
    with pytest.raises(InputError, match=r"none\.png does not exist; expected a mask as PNG"):
        edit_film(source, "Left effusion.", tmp_path / "none.png", model=gaussian)


def test_room_is_imported_without_torch():
    code = "import sys, synthorax.editing as e; e.__all__; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )
    assert all(getattr(editing, name) is not None for name in editing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'undo'"):
        _ = editing.undo


@pytest.mark.parametrize(("dtype", "white"), [("uint8", None), ("uint16", None), ("uint16", 4095)])
@pytest.mark.parametrize("outside", ["free", "exact"])
def test_films_keep_their_depth_and_what_is_kept_keeps_every_bit(gaussian, dtype, white, outside):
    top = white or np.iinfo(dtype).max
    films = np.random.default_rng(4).integers(0, top, (2, 72, 60), endpoint=True).astype(dtype)
    edit_mask, keep_mask = box(10, 40, 4, 30, shape=(72, 60)), box(0, 72, 48, 60, shape=(72, 60))
    edited = edit(
        films, PROMPTS[:2], model=gaussian, seeds=[1, 2], edit_masks=[edit_mask] * 2, keep_masks=[keep_mask] * 2,
        inversion_prompts=["No findings."] * 2, white=white, outside=outside, feather_px=6, **SETTINGS,
    )  # fmt: skip
    assert edited.dtype == films.dtype and edited.max() <= top
    assert np.abs(edited[:, keep_mask].astype(int) - films[:, keep_mask]).max() == 0
    y, x = np.indices(edit_mask.shape)
    beyond = (
        np.hypot(np.maximum(np.maximum(10 - y, y - 39), 0), np.maximum(np.maximum(4 - x, x - 29), 0)) >= 6
    )
    changed = (edited != films).any(0)
    assert changed[edit_mask].mean() > 0.9
    assert changed[beyond & ~keep_mask].any() == (outside == "free")  # the free band follows the model


def test_16_bits_are_more_than_8(gaussian):
    """An edit adds a fine change to fine grey levels: the same film in 8 bits is its rounding, and only that."""
    films = np.random.default_rng(5).integers(20_000, 40_000, (1, 32, 32)).astype(np.uint16)
    settings = {"model": gaussian, "seeds": [1], **SETTINGS}
    sixteen = edit(films, PROMPTS[:1], **settings)
    exact = edit((films / 65535).astype(np.float32), PROMPTS[:1], **settings)
    assert np.abs(sixteen - exact * 65535).max() < 0.6
    assert len(np.unique(sixteen)) > 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"white": 4095}, r"white is 4095 for float films; leave it out"),
        (
            {"images": np.full((1, 8, 8), 5000, np.uint16), "white": 4095},
            r"goes from 5000 to 5000; expected \[0, 4095\]",
        ),
        ({"outside": "exakt"}, r"outside is 'exakt'; expected one of .*Did you mean 'exact'"),
    ],
)
def test_depths_and_outsides_that_cannot_be(gaussian, films, change, message):
    with pytest.raises(InputError, match=message):
        edit(**{"images": films[:1], "prompts": PROMPTS[:1], "seeds": [1], "model": gaussian, **change})
