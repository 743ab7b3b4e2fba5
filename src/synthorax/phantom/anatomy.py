"""What makes one virtual patient differ from the next, and how the film was taken: drawn once, stored, replayable.

Demographics are proxies, and only what physics supports: sex is a breast shadow, age a wider aorta and a chest that
leans forwards, weight more soft tissue. Race is never simulated.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from synthorax.errors import unknown_choice
from synthorax.phantom.projection import SIZE
from synthorax.phantom.sites import DEFAULT_SITE, SiteStyle, site_style
from synthorax.seeds import generator


@dataclass(frozen=True)
class Anatomy:
    """All numbers of a virtual patient and its film; :func:`draw_anatomy` gives plausible ones.

    Person: ``sex``, ``age`` (years), ``habitus`` (soft tissue added to the line integral), ``rib_gain``,
    ``rib_shift_px`` and ``rib_slope``, ``vessel_gain`` (the CT's own vessels), ``tree_gain`` (this patient's
    drawn vessels), ``heart_growth_mm``, ``slimness`` (sideways shrinking of the heart), ``aorta_growth_mm`` (the aorta
    widens with age), ``breast_mm`` (thickness).

    Shape: ``shoulder_slope`` and ``shoulder_px`` (arms down: fall of the shoulders and row of the neck's foot; a slope
    of 0 leaves the arms up), ``lung_stretch`` and ``width`` (smaller shows a larger chest), ``top_px`` (crop),
    ``diaphragm_px``, ``apex_taper``, ``waist``, ``warp_px`` (deviation of a smooth random warp).

    Film: ``view_position``, ``position`` (``upright`` or ``supine``), ``tilt_deg``, ``rotation_deg``, ``turn_deg`` (in
    the plane), ``shift_px``, ``zoom`` (above 1 shows more), ``photons`` (per pixel; fewer is noisier), ``grain_px``
    (blur of the noise), ``scatter``, ``equalisation``, ``detail``, ``sharpening``, ``contrast``, ``gamma``, ``white``,
    ``black_offset``, ``white_percentile``, ``exposure``, ``background`` (1 blackens what the bare beam hit), ``border_px`` (top, bottom, left, right), ``marker`` (L or R),
    ``marker_px`` (its row and column, or None), ``ap_words`` and ``ap_words_px`` (written on AP films that have a
    marker, and where).
    """

    view_position: str
    position: str
    sex: str
    age: float
    habitus: float
    rib_gain: float
    rib_shift_px: float
    rib_slope: float
    vessel_gain: float
    tree_gain: float
    heart_growth_mm: float
    slimness: float
    aorta_growth_mm: float
    breast_mm: float
    lung_stretch: float
    width: float
    top_px: float
    diaphragm_px: float
    diaphragm_lean: float
    apex_taper: float
    waist: float
    warp_px: float
    shoulder_slope: float
    shoulder_px: float
    tilt_deg: float
    rotation_deg: float
    turn_deg: float
    shift_px: tuple[float, float]
    photons: float
    scatter: float
    equalisation: float
    detail: float
    sharpening: float
    contrast: float
    gamma: float
    white: float
    black_offset: float
    white_percentile: float
    exposure: float
    zoom: float
    grain_px: float
    background: float
    border_px: tuple[int, int, int, int]
    marker: str
    marker_px: tuple[int, int] | None
    ap_words: str
    ap_words_px: tuple[int, int]

    def as_dict(self) -> dict[str, object]:
        """Plain numbers, for JSON."""
        return asdict(self)

    def changed(self, **values: object) -> "Anatomy":
        """The same patient with some numbers set; a wrong name is refused."""
        names = [field.name for field in fields(self)]
        for name in values:
            if name not in names:
                raise unknown_choice("anatomy parameter", name, names)
        as_tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return replace(self, **as_tuples)


def draw_anatomy(seed: int, take: int = 0, site: str = DEFAULT_SITE) -> Anatomy:
    """A plausible patient and film. The ranges were set by eye against frontal films, not estimated.

    Args:
        seed: the patient's.
        take: which film of the patient; takes differ in the film's numbers, not in the person's.
        site: name of a style in :func:`~synthorax.phantom.sites.site_styles`.

    Raises:
        InputError: no such site.
    """
    style = site_style(site)
    rng = generator(seed, "anatomy")
    uniform, normal = rng.uniform, rng.normal
    is_ap, is_female = bool(rng.random() < style.ap_share), bool(rng.random() < 0.5)
    is_supine = is_ap and bool(generator(seed, "position").random() < style.supine_share)
    person: dict[str, Any] = {
        "habitus": np.clip(normal(0.15, 0.35), -0.35, 1.1),
        "rib_gain": uniform(1.5, 2.1),
        "rib_shift_px": normal(0, 6),
        "rib_slope": normal(0, 0.05),
        "vessel_gain": uniform(0.7, 1.3),
        "tree_gain": uniform(0.7, 1.4),
        "heart_growth_mm": uniform(0, 5),
        "slimness": uniform(0.04, 0.13),
        "breast_mm": uniform(16, 34) * is_female,
        "lung_stretch": uniform(0.76, 0.86) * (0.97 if is_ap else 1),
        "width": uniform(0.84, 0.96),
        "diaphragm_px": normal(0, 9),
        "diaphragm_lean": uniform(-1, 1),
        "apex_taper": uniform(-0.05, 0.05),
        "waist": normal(0, 0.03),
        "warp_px": uniform(2.5, 6.0),
        "tilt_deg": np.clip(normal(0, 4), -8, 8),
        "rotation_deg": np.clip(normal(0, 2.2), -5, 5),
        "sharpening": uniform(0.7, 1.3),
    }
    age = float(np.clip(round(normal(58, 17)), 18, 95))
    bent = max(0.0, age - 60) / 35  # a kyphotic chest leans forwards
    person["tilt_deg"] = np.clip(person["tilt_deg"] + 3 * bent, -8, 8)
    person |= _draw_shoulders(generator(seed, "shoulders"), style)
    return Anatomy(
        view_position="AP" if is_ap else "PA",
        position="supine" if is_supine else "upright",
        sex="F" if is_female else "M",
        age=age,
        aorta_growth_mm=max(0.0, age - 45) / 50 * 7,
        **{name: float(value) for name, value in person.items()},  # type: ignore[arg-type]
        **_draw_film(generator(seed, "film", take), is_ap, style),
    )


def _draw_shoulders(rng: np.random.Generator, style: SiteStyle) -> dict[str, float]:
    slope, foot = float(rng.uniform(0.38, 0.62)), float(rng.uniform(4, 24))
    return {"shoulder_slope": slope * style.shoulders, "shoulder_px": foot}


def _draw_film(rng: np.random.Generator, is_ap: bool, style: SiteStyle) -> dict[str, Any]:
    """Position, exposure and processing of one film."""
    uniform, normal = rng.uniform, rng.normal
    numbers = {
        "top_px": uniform(22, 40),
        "turn_deg": normal(0, 1.2),
        "photons": 10 ** uniform(*style.log10_photons) * (0.5 if is_ap else 1),
        "scatter": uniform(*style.scatter) + (0.12 if is_ap else 0),
        "equalisation": uniform(*style.equalisation),
        "detail": uniform(*style.detail),
        "contrast": uniform(*style.contrast),
        "gamma": uniform(*style.gamma),
        "white": uniform(*style.white),
        "black_offset": uniform(*style.black_offset),
        "white_percentile": uniform(94, 99),
        "exposure": normal(0, style.exposure),
    }
    border = tuple(int(n) for n in rng.integers(0, 14, 4))
    row, column = int(rng.integers(*style.marker_rows)), int(rng.integers(450, 470))
    marker = (row, column if style.marker == "L" else SIZE - 22 - column)
    shift = (float(normal(0, style.shift_px)), float(normal(0, style.shift_px)))
    has_border, has_marker = rng.random() < style.border_share, rng.random() < style.marker_share
    words = (int(rng.integers(*style.ap_words_rows)), int(rng.integers(14, 30)))
    return {
        **{name: float(value) for name, value in numbers.items()},
        "shift_px": shift,
        "zoom": float(uniform(*style.zoom)),
        "grain_px": float(uniform(*style.grain_px)),
        "background": float(uniform(*style.background)),
        "border_px": border if has_border else (0, 0, 0, 0),
        "marker": style.marker,
        "marker_px": marker if has_marker else None,
        "ap_words": style.ap_words if is_ap else "",
        "ap_words_px": words,
    }
