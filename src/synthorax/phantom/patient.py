"""A virtual patient: one seed, one chest, and for every set of findings the film that this chest would give."""

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from synthorax.concepts import Vocabulary
from synthorax.errors import InputError, unknown_choice
from synthorax.phantom.anatomy import Anatomy, draw_anatomy
from synthorax.phantom.atlas import ATLAS_NAME, BUILT_IN, Atlas
from synthorax.phantom.chest import Chest, healthy_line_integral, pose_chest, warp_fields
from synthorax.phantom.fields import Warp, smoothstep
from synthorax.phantom.findings import CONCEPTS, INCIDENTAL, SIDE_WORDS, Shape
from synthorax.phantom.findings.heart import grow_heart, widen_aorta
from synthorax.phantom.projection import HALF, MU_SOFT, SIZE
from synthorax.phantom.rendering import HealthyFilm, film_grain, grey_change, healthy_film, physical, strict
from synthorax.phantom.sites import DEFAULT_SITE, site_style
from synthorax.phantom.truth import Box, amounts, boxes, structure_maps
from synthorax.seeds import derive_seed, generator

MODES = ("physical", "strict")
VISIBLE_GREY = 5 / 255
LUNG_MM, HEART_MM = 25.0, 8.0
_ID = re.compile(rf"vp([0-9a-f]{{16}})(?:-([a-z]+))?(?:@({ATLAS_NAME}))?(?:_(\d+))?(?:__\d+)?")


@dataclass(frozen=True)
class Finding:
    """One finding of one patient, on that patient's film grid (512 px).

    Attributes:
        concept: the vocabulary's concept, or the name of a finding that no concept names.
        side: ``"R"``, ``"L"`` or ``"RL"``, the patient's.
        delta: ``(512, 512)`` float32 added to the line integral; its nonzero pixels are the support.
        mask: ``(512, 512)`` bool, what is seen: the finding alone changes the displayed grey by at least 5 of
            255 levels. For gas, where markings are absent: at least half of the lung along the ray is gas.
        extent: ``(512, 512)`` bool, where the finding lies, hidden parts included.
        params: what was drawn; ``patient.finding(concept, params)`` makes the same finding again.
        amounts: ``volume_ml`` and ``lung_fraction``, see :func:`~synthorax.phantom.truth.amounts`; none for devices.
    """

    concept: str
    side: str
    delta: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    extent: np.ndarray = field(repr=False)
    params: dict[str, object] = field(repr=False)
    amounts: dict[str, float]


@dataclass(frozen=True)
class Film:
    """A rendered film and what is known about it.

    Attributes:
        image: ``(size, size)`` float32 in [0, 1], MONOCHROME2.
        masks: per finding, ``(size, size)`` bool, the visible part.
        extents: per finding, ``(size, size)`` bool, hidden parts included.
        lung_mask, heart_mask: ``(size, size)`` bool; the heart's includes its enlargement.
        boxes: per finding, a box (px) round each visible part.
        sides: per concept ``"left"``, ``"right"`` or ``"bilateral"``; concepts without a side are left out.
        params: all that was drawn, plain numbers.
    """

    image: np.ndarray = field(repr=False)
    masks: dict[str, np.ndarray] = field(repr=False)
    extents: dict[str, np.ndarray] = field(repr=False)
    lung_mask: np.ndarray = field(repr=False)
    heart_mask: np.ndarray = field(repr=False)
    sides: dict[str, str]
    params: dict[str, object] = field(repr=False)

    @cached_property
    def boxes(self) -> dict[str, list[Box]]:
        return {name: boxes(mask) for name, mask in self.masks.items()}

    @property
    def cardiothoracic_ratio(self) -> float:
        """Widest heart over widest lung, in columns of the masks."""
        heart, lung = (np.flatnonzero(mask.any(0)) for mask in (self.heart_mask, self.lung_mask))
        return float((heart[-1] - heart[0] + 1) / (lung[-1] - lung[0] + 1))


class VirtualPatient:
    """A person who does not exist, seen on one film.

    Args:
        seed: everything about the patient follows from it.
        atlas: from :meth:`Atlas.load`; never changed.
        take: which film of the person: another take has another position, noise, exposure and window.
        site: the hospital's style, see :func:`~synthorax.phantom.sites.site_styles`.
        **anatomy: numbers of :class:`Anatomy` to set instead of drawing them, e.g. ``sex="F", tilt_deg=0``.
    """

    def __init__(
        self, seed: int, atlas: Atlas, take: int = 0, site: str = DEFAULT_SITE, **anatomy: object
    ) -> None:
        self.seed, self.site = seed, site
        self._set = anatomy
        person = draw_anatomy(seed, take, site).changed(**anatomy)
        self.chest: Chest = pose_chest(atlas.seen_from(person.view_position), person, seed)
        healthy = healthy_line_integral(self.chest, person, seed)
        healthy = healthy + grow_heart(self.chest, person.heart_growth_mm, 10.0)[0]
        self._in_atlas_frame = healthy + widen_aorta(self.chest, person.aorta_growth_mm)
        self._sway = warp_fields(generator(seed, "warp"), person.warp_px)
        self._shapes: dict[str, tuple[dict[str, object], Shape]] = {}
        self._expose(take)

    def retaken(self, take: int) -> "VirtualPatient":
        """The same person on another film, at a fifth of the cost of a new patient."""
        other = copy(self)
        for name in ("incidentals", "structures", "_capacity"):
            other.__dict__.pop(name, None)
        other._expose(take)
        return other

    #: Warps a ``(512, 512)`` map from the atlas's frame onto this film.
    on_film: Warp

    def _expose(self, take: int) -> None:
        self.take = take
        self.anatomy: Anatomy = draw_anatomy(self.seed, take, self.site).changed(**self._set)
        self.on_film = Warp.to(*_position(self.anatomy, self._sway), (SIZE, SIZE))
        self.line_integral = self.on_film(self._in_atlas_frame)
        self.heart_mask = self.on_film(self.chest.heart) > HEART_MM
        self.lung_mask = self.on_film(self.chest.lung["R"] + self.chest.lung["L"]) > LUNG_MM
        grain = film_grain(generator(self.seed, "noise", take), (SIZE, SIZE), self.anatomy.grain_px)
        self.healthy: HealthyFilm = healthy_film(self.line_integral, self.lung_mask, self.anatomy, grain)

    @cached_property
    def incidentals(self) -> tuple[Finding, ...]:
        """Findings and devices that no concept names; they stay in every film of this patient."""
        style = site_style(self.site)
        return tuple(
            self.finding(name)
            for name, recipe in INCIDENTAL.items()
            if generator(self.seed, name, "occurs").random()
            < recipe.rate * (style.disease_factor if recipe.is_disease else style.device_factor)
        )

    @cached_property
    def structures(self) -> dict[str, np.ndarray]:
        """``(512, 512)`` bool masks of the healthy chest: lungs, lobes, heart, aorta, ribs, clavicles by name and side.

        Enlarged hearts are in :attr:`Film.heart_mask`, not here.
        """
        words = {"R": "right", "L": "left"}
        masks = {f"lung_{words[side]}": self.on_film(mm) > LUNG_MM for side, mm in self.chest.lung.items()}
        masks["heart"] = self.heart_mask
        return masks | {
            name: self.on_film(image) > level for name, (image, level) in structure_maps(self.chest).items()
        }

    @property
    def has_other_disease(self) -> bool:
        """Whether an incidental finding (not a device) keeps films without concepts from being unremarkable."""
        return any(INCIDENTAL[finding.concept].is_disease for finding in self.incidentals)

    def finding(self, concept: str, params: Mapping[str, object] | None = None) -> Finding:
        """The finding that this patient has if it has any of that concept: the same in every counterfactual.

        Side, size and place follow from ``(seed, concept)``; concepts of one label share their side.

        Args:
            concept: a pathology concept, or a key of :data:`~synthorax.phantom.findings.INCIDENTAL`.
            params: stored parameters of an earlier finding, to make exactly that one again.

        Raises:
            InputError: no recipe for the concept.
        """
        recipes = CONCEPTS | INCIDENTAL
        if concept not in recipes:
            raise unknown_choice("concept", concept, recipes)
        recipe = recipes[concept]
        if params is not None:
            return self._on_film(concept, recipe.make(self.chest, **params), dict(params))
        if concept not in self._shapes:
            group = Vocabulary.load().label_of(concept) if concept in CONCEPTS else concept
            side = recipe.sides[int(generator(self.seed, group, "side").random() * len(recipe.sides))]
            drawn = {"side": side, **recipe.draw(generator(self.seed, concept), self.chest, side)}
            self._shapes[concept] = drawn, recipe.make(self.chest, **drawn)
        drawn, shape = self._shapes[concept]
        return self._on_film(concept, shape, dict(drawn))

    def _on_film(self, concept: str, shape: Shape, params: dict[str, object]) -> Finding:
        delta = self.on_film(shape.delta.astype(np.float32))
        delta[np.abs(delta) < 1e-4] = 0
        extent = self.on_film(shape.depth_mm) > shape.extent_mm
        if shape.region is None:
            mask = np.abs(grey_change(self.healthy, delta, self.anatomy)) >= VISIBLE_GREY
            if concept in CONCEPTS:  # majority of 5 x 5 pixels, against specks
                mask = ndimage.uniform_filter(mask.astype(np.float32), 5) > 0.5
        else:
            mask = self.on_film(shape.region) > 0.5
        side = str(params["side"])
        is_device = concept in INCIDENTAL and not INCIDENTAL[concept].is_disease
        found = {} if is_device else amounts(self.chest, shape, side)
        return Finding(concept, side, delta, mask, extent, params, found)

    def render(
        self, findings: Iterable[Finding | str] = (), mode: str = "physical", size: int = SIZE
    ) -> Film:
        """The film of this patient with exactly these findings (and the patient's incidental ones).

        Findings of one label share tissue: the strongest counts at each pixel. Different labels add, up to lung
        that is wholly filled. Films of one patient share pose, noise, window, marker and border.

        Args:
            findings: findings of this patient, or names to look up with :meth:`finding`; one that no concept names
                is added to the patient's own, or takes its place.
            mode: ``physical`` lets scatter and equalisation answer to the findings (small differences everywhere);
                ``strict`` changes no pixel outside the findings' support.
            size: side of the film (px), 512 or less; smaller films are area averages.
        """
        if mode not in MODES:
            raise unknown_choice("mode", mode, MODES)
        if not 16 <= size <= SIZE:
            raise InputError(f"size is {size} px; expected 16 to {SIZE}.")
        asked = [self.finding(f) if isinstance(f, str) else f for f in findings]
        shown = [f for f in asked if f.concept in CONCEPTS]
        others = tuple(
            {f.concept: f for f in (*self.incidentals, *asked) if f.concept in INCIDENTAL}.values()
        )
        delta = self._combine(shown) + sum(f.delta for f in others)
        if mode == "strict":
            image = strict(self.healthy, delta, self.anatomy)
        else:
            image = physical(self.healthy, self.line_integral + delta, self.anatomy)
        heart = self.heart_mask
        for finding in shown:
            if finding.concept == "enlarged_heart":
                heart = heart | finding.extent
        everything = (*shown, *others)
        return Film(
            image=reduce_area(_annotate(image, self.anatomy), size),
            masks={f.concept: reduce_mask(f.mask, size) for f in everything},
            extents={f.concept: reduce_mask(f.extent, size) for f in everything},
            lung_mask=reduce_mask(self.lung_mask, size),
            heart_mask=reduce_mask(heart, size),
            sides=sides_of(shown),
            params={
                "atlas": self.chest.atlas.name,
                "seed": self.seed,
                "take": self.take,
                "site": self.site,
                "mode": mode,
                "anatomy": self.anatomy.as_dict(),
                "findings": {f.concept: f.params for f in shown},
                "incidentals": {f.concept: f.params for f in others},
            },
        )

    @cached_property
    def _capacity(self) -> np.ndarray:
        """``(512, 512)``: line integral that filling all air of the lungs would add."""
        room = np.zeros((SIZE, SIZE), np.float32)
        for grid in self.chest.atlas.lungs.values():
            air = np.maximum(1.1 * MU_SOFT - grid.mu, 0) * smoothstep(-1.5, 0, grid.inside)
            room = room + self.chest.cast(air, grid)
        return self.on_film(room)

    def _combine(self, findings: list[Finding]) -> np.ndarray:
        vocabulary = Vocabulary.load()
        groups: dict[str, np.ndarray] = {}
        for finding in findings:
            label = vocabulary.label_of(finding.concept)
            before = groups.get(label)
            stronger = finding.delta if before is None else _stronger(before, finding.delta)
            groups[label] = stronger
        added = sum((np.maximum(d, 0) for d in groups.values()), np.zeros((SIZE, SIZE), np.float32))
        removed = sum((np.minimum(d, 0) for d in groups.values()), np.zeros((SIZE, SIZE), np.float32))
        if len(groups) > 1:
            added = np.minimum(added, np.maximum(self._capacity, np.max([*groups.values()], axis=0)))
        return added + removed


class FilmSource(NamedTuple):
    """All that a film without findings follows from."""

    seed: int
    take: int
    site: str
    atlas: str


def patient_id_of(seed: int, site: str = DEFAULT_SITE, atlas: str = BUILT_IN) -> str:
    """The patient's id; it holds seed, site and atlas, so that any film can be made again from its row."""
    return f"vp{seed:016x}" + f"-{site}" * (site != DEFAULT_SITE) + f"@{atlas}" * (atlas != BUILT_IN)


def image_id_of(seed: int, take: int, site: str = DEFAULT_SITE, atlas: str = BUILT_IN) -> str:
    """The film's id: patient and take."""
    return f"{patient_id_of(seed, site, atlas)}_{take}"


def film_source(name: str) -> FilmSource:
    """What the ``image_id`` or ``patient_id`` (take 0) of a virtual patient says.

    Raises:
        InputError: not such an id.
    """
    found = _ID.fullmatch(name)
    if not found:
        raise InputError(
            f"image_id is {name!r}; expected 'vp', 16 hexadecimal digits, '_' and a number. Only films of "
            "virtual patients have a true counterfactual."
        )
    return FilmSource(int(found[1], 16), int(found[4] or 0), found[2] or DEFAULT_SITE, found[3] or BUILT_IN)


def patient_seed(cohort_seed: int, index: int) -> int:
    """The seed of the ``index``-th patient of a cohort."""
    return derive_seed(cohort_seed, "patient", index)


def cohort_patient_ids(cohort_seed: int, n: int, site: str, atlases: Sequence[str]) -> list[str]:
    """The ids of a cohort's patients, in order; the atlases take turns."""
    seeds = (patient_seed(cohort_seed, index) for index in range(n))
    return [patient_id_of(seed, site, atlases[i % len(atlases)]) for i, seed in enumerate(seeds)]


def sides_of(findings: Iterable[Finding]) -> dict[str, str]:
    """Concept to ``left``, ``right`` or ``bilateral``, for concepts that have a side."""
    by_name = Vocabulary.load().by_name
    return {
        f.concept: SIDE_WORDS[f.side] for f in findings if f.concept in by_name and by_name[f.concept].sided
    }


def reduce_area(image: np.ndarray, size: int) -> np.ndarray:
    """Area-averaged copy of a square float image."""
    if image.shape[0] == size:
        return image
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BOX))


def reduce_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask on a smaller grid: pixels covered by half or more."""
    return mask if mask.shape[0] == size else reduce_area(mask.astype(np.float32), size) >= 0.5


def _stronger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(np.abs(b) > np.abs(a), b, a)


def _position(anatomy: Anatomy, sway: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """For each film pixel, the row and column of the atlas's frame that it shows."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    angle = np.deg2rad(anatomy.turn_deg)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))  # Python's floats leave float32 as it is
    from_row, from_column = anatomy.zoom * (rows - HALF), anatomy.zoom * (columns - HALF)
    row = from_row * cosine - from_column * sine
    column = from_column * cosine + from_row * sine
    y = anatomy.top_px + (row + HALF) * anatomy.lung_stretch + anatomy.shift_px[1] * 0.5
    taper = 1 + anatomy.apex_taper * row / HALF + anatomy.waist * np.sin(row / HALF * 2)
    x = 258 + column * anatomy.width * taper + anatomy.shift_px[0]
    at_diaphragm = smoothstep(120, 300, y) * (1 - smoothstep(330, 480, y))
    y = y + anatomy.diaphragm_px * at_diaphragm * (0.6 + 0.4 * anatomy.diaphragm_lean * np.tanh(column / 120))
    y, x = y + sway[0], x + sway[1]
    across = np.clip((x - 255) / 185, 0, 1)  # shrink the left heart sideways, lung following
    x = x + 185 * anatomy.slimness * 4 * across * (1 - across) * np.exp(-(((y - 262) / 66) ** 2))
    return y, x


def _annotate(image: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """Collimation border, the side marker and, on AP films, the words; all independent of findings."""
    top, bottom, left, right = anatomy.border_px
    out = np.zeros_like(image)
    inside = (slice(top, SIZE - bottom), slice(left, SIZE - right))
    out[inside] = image[inside]
    if anatomy.marker_px is None:
        return out
    ink = Image.new("L", (SIZE, SIZE), 0)
    pen = ImageDraw.Draw(ink)
    row, column = anatomy.marker_px
    pen.text((column, row), anatomy.marker, fill=245, font=ImageFont.load_default(26))
    pen.text(anatomy.ap_words_px[::-1], anatomy.ap_words, fill=225, font=ImageFont.load_default(13))
    return np.maximum(out, np.asarray(ink, dtype=np.float32) / 255)
