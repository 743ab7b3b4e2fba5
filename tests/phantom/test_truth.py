"""What is known about a film: exact pairs, amounts, boxes, structures; and how a site takes its films."""

import numpy as np
import polars as pl
import pytest

from synthorax.errors import InputError
from synthorax.phantom import VirtualPatient, counterfactual, sample_cohort
from synthorax.phantom.anatomy import draw_anatomy
from synthorax.phantom.findings import CONCEPTS, INCIDENTAL
from synthorax.phantom.patient import film_source, image_id_of
from synthorax.phantom.sites import site_styles
from synthorax.phantom.truth import Box, boxes
from synthorax.phantom.views import ap_over_pa


def grey(film):
    return np.uint8(np.rint(255 * film.image))


def test_200_strict_perturbations_change_no_pixel_outside_their_support(atlas):
    rng = np.random.default_rng(20261124)
    names = [*CONCEPTS]
    for patient_seed in range(9000, 9010):
        patient = VirtualPatient(patient_seed, atlas)
        for _ in range(20):
            before, after = (rng.choice(names, rng.integers(0, 4), replace=False).tolist() for _ in range(2))
            touched = np.zeros((512, 512), bool)
            for name in {*before, *after}:
                touched |= patient.finding(name).delta != 0
            change = grey(patient.render(before, "strict")) != grey(patient.render(after, "strict"))
            assert not (change & ~touched).any(), (patient_seed, before, after)
            assert set(before) == set(after) or change.any()


def test_amounts_are_what_the_pixels_hold(patient):
    small, large = (
        patient.finding(
            "effusion", {"side": "R", "level": level, "rise_mm": 20.0, "severity": "", "texture": 1}
        )
        for level in (0.25, 0.5)
    )
    assert 100 < small.amounts["volume_ml"] < large.amounts["volume_ml"] < 2500
    ratio = large.amounts["volume_ml"] / small.amounts["volume_ml"]
    assert large.amounts["lung_fraction"] / small.amounts["lung_fraction"] == pytest.approx(ratio)
    gas = patient.finding("absent_lung_markings").amounts["lung_fraction"]
    assert 0.02 < gas < 0.9
    assert patient.finding("pacemaker").amounts == {}


def test_supine_the_same_fluid_lies_behind_the_lung(patient):
    asked = {"side": "R", "level": 0.4, "rise_mm": 20.0, "severity": "", "texture": 1}
    upright, supine = (patient.finding("effusion", asked | {"layering": lies}) for lies in (False, True))
    assert supine.amounts["volume_ml"] == pytest.approx(upright.amounts["volume_ml"], rel=0.02)
    highest = {f.params["layering"]: np.flatnonzero(f.extent.any(1))[0] for f in (upright, supine)}
    assert highest[True] < highest[False] - 80  # px: a veil that reaches the upper lung
    lung = patient.structures["lung_right"]
    assert supine.extent[lung].mean() > upright.extent[lung].mean() + 0.1


def test_only_supine_patients_have_layering_effusions(atlas):
    lying = VirtualPatient(5, atlas, view_position="AP", position="supine").finding("effusion")
    assert lying.params["layering"] is True
    assert VirtualPatient(5, atlas).finding("effusion").params["layering"] is False


def test_nodule_volume_is_near_the_ball_of_its_diameter(patient):
    params = patient.finding("nodule").params
    ball = np.pi / 6 * float(params["diameter_mm"]) ** 3 / 1000
    assert patient.finding("nodule").amounts["volume_ml"] == pytest.approx(ball, rel=0.5)


def test_boxes_hold_each_part_largest_first():
    mask = np.zeros((100, 100), bool)
    mask[10:20, 30:35] = True
    mask[50:80, 60:90] = True
    mask[0, 0] = True  # a speck of one pixel is 1e-4 of this film: still a part
    assert boxes(mask) == [Box(60, 50, 30, 30), Box(30, 10, 5, 10), Box(0, 0, 1, 1)]
    assert boxes(np.zeros((100, 100), bool)) == []
    mask = np.zeros((200, 200), bool)
    mask[5, 5] = True
    assert boxes(mask) == []


def test_structures_lie_where_anatomy_has_them(patient):
    masks = patient.structures
    centre = {name: np.argwhere(mask).mean(0) for name, mask in masks.items()}
    assert centre["lung_right"][1] < centre["aorta"][1] < centre["lung_left"][1]
    assert centre["clavicle_right"][1] < centre["clavicle_left"][1]
    assert centre["lobe_right_upper"][0] < centre["lobe_right_middle"][0] < centre["lobe_right_lower"][0]
    assert centre["lobe_left_upper"][0] < centre["lobe_left_lower"][0]
    lobes = masks["lobe_right_upper"] | masks["lobe_right_middle"] | masks["lobe_right_lower"]
    assert (masks["lung_right"] & ~lobes).mean() < 0.005
    np.testing.assert_array_equal(masks["lung_right"] | masks["lung_left"], patient.lung_mask)


def test_ap_beam_enlarges_what_lies_in_front():
    assert ap_over_pa(0.0) == 1
    # SID 1100 mm, 150 mm from mid-chest to the cassette; PA 1800 mm, 128 mm to the detector
    assert ap_over_pa(50.0) == pytest.approx((950 / 900) / (1672.03 / 1722.03), abs=1e-4)
    assert ap_over_pa(-50.0) < 1


def test_ap_film_shows_a_wider_heart(atlas):
    ratio = {
        view: VirtualPatient(11, atlas, view_position=view, tilt_deg=0.0).render().cardiothoracic_ratio
        for view in ("PA", "AP")
    }
    assert ratio["PA"] + 0.01 < ratio["AP"] < ratio["PA"] + 0.06


def test_aorta_widens_with_age_and_changes_nothing_else(atlas):
    young, old = (VirtualPatient(11, atlas, aorta_growth_mm=mm) for mm in (0.0, 7.0))
    changed = young.line_integral != old.line_integral
    assert 0.001 < changed.mean() < 0.1
    assert (old.line_integral - young.line_integral)[changed].mean() > 0


@pytest.mark.parametrize("site", site_styles())
def test_site_draws_within_its_ranges(site):
    style = site_styles()[site]
    drawn = [draw_anatomy(seed, site=site) for seed in range(200)]
    for name in ("equalisation", "detail", "contrast", "gamma", "white"):
        low, high = getattr(style, name)
        assert low <= min(getattr(a, name) for a in drawn) <= max(getattr(a, name) for a in drawn) <= high
    assert abs(np.mean([a.view_position == "AP" for a in drawn]) - style.ap_share) < 0.08
    assert all(a.view_position == "AP" for a in drawn if a.position == "supine")
    assert all((a.marker_px[1] > 256) == (a.marker == "L") for a in drawn if a.marker_px)


def test_unknown_site_is_refused():
    with pytest.raises(
        InputError,
        match=r"site is 'wards'; expected one of clinic, mixed, public, training, ward\. Did you mean 'ward'",
    ):
        draw_anatomy(1, site="wards")


def test_site_is_in_the_id_and_found_again(atlas, tmp_path):
    folder = sample_cohort(1, 3, tmp_path, size=128, site="ward", structures=True, workers=1)
    row = pl.read_parquet(folder / "studies.parquet").row(0, named=True)
    assert film_source(row["image_id"]).site == "ward"
    assert row["image_id"] == image_id_of(row["seed"], 0, "ward")
    from synthorax.dataset import read_png

    concepts = pl.read_parquet(folder / "metadata.parquet")["concepts_after"][0].to_list()
    again = counterfactual(row["image_id"], concepts, size=128).image
    np.testing.assert_allclose(read_png(folder / row["file_name"]), again, atol=0.51 / 255)
    assert (folder / f"masks/{row['image_id']}__lobe_right_upper.png").is_file()


def test_findings_table_names_files_that_are_there(tmp_path):
    folder = sample_cohort(4, 8, tmp_path, size=128, workers=1)
    table = pl.read_parquet(folder / "findings.parquet")
    assert table.height > 2
    for row in table.iter_rows(named=True):
        assert (folder / row["mask_file_name"]).is_file()
        assert (folder / row["extent_file_name"]).is_file()
        is_device = row["finding"] in INCIDENTAL and not INCIDENTAL[row["finding"]].is_disease
        assert (row["volume_ml"] is None) == is_device
        if row["visible_fraction"] > 0.01:
            assert row["boxes"]
