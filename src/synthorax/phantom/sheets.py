"""Contact sheets: patients, findings with their counterfactual and masks, structures; to be looked at by a person."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from synthorax.errors import unknown_choice
from synthorax.phantom.atlas import Atlas
from synthorax.phantom.findings import CONCEPTS, INCIDENTAL
from synthorax.phantom.patient import VirtualPatient, patient_seed, reduce_mask
from synthorax.phantom.sites import DEFAULT_SITE

SHEETS = ("patients", "findings", "structures")
CELL_PX, CAPTION_PX, COLUMNS = 256, 14, 6
Cell = tuple[str, np.ndarray]


def contact_sheet(kind: str, seed: int, atlas: Atlas, site: str = DEFAULT_SITE) -> np.ndarray:
    """A sheet of captioned films, none left out or chosen.

    Args:
        kind: ``patients`` (24 of them), ``findings`` (each recipe: without, with, and with outlines: solid what is
            seen, dotted what lies hidden) or ``structures`` (lungs, lobes, heart, aorta, ribs, clavicles).
        seed: of the first patient; the others follow from it.
        atlas: from :meth:`Atlas.load`.
        site: the hospital's style.

    Returns:
        ``(H, W)`` float32 in [0, 1].

    Raises:
        InputError: no such sheet or site.
    """
    if kind not in SHEETS:
        raise unknown_choice("sheet", kind, SHEETS)
    makers = {"patients": _patients, "findings": _findings, "structures": _structures}
    return _tile([*makers[kind](seed, atlas, site)])


def outlined(image: np.ndarray, masks: Iterable[np.ndarray], dotted: Iterable[np.ndarray] = ()) -> np.ndarray:
    """The film with white outlines of masks, solid or dotted."""
    out = image.copy()
    rows, columns = np.indices(image.shape)
    for mask in masks:
        out[_rim(mask)] = 1.0
    for mask in dotted:
        out[_rim(mask) & ((rows + columns) % 6 < 2)] = 1.0
    return out


def _rim(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def _patients(seed: int, atlas: Atlas, site: str) -> Iterable[Cell]:
    for index in range(24):
        patient = VirtualPatient(patient_seed(seed, index), atlas, site=site)
        film, a = patient.render(size=CELL_PX), patient.anatomy
        words = f"{a.sex} {a.age:.0f} {a.view_position} {a.position} CTR {film.cardiothoracic_ratio:.2f}"
        yield words, film.image


def _findings(seed: int, atlas: Atlas, site: str) -> Iterable[Cell]:
    for index, name in enumerate([*CONCEPTS, *INCIDENTAL]):
        patient = VirtualPatient(patient_seed(seed, index), atlas, site=site)
        finding = patient.finding(name)
        film = patient.render([finding], size=CELL_PX)
        ml = f", {finding.amounts['volume_ml']:.0f} ml" if finding.amounts else ""
        yield "without", patient.render(size=CELL_PX).image
        yield f"{name} {finding.side}{ml}", film.image
        yield "seen (solid), extent (dotted)", outlined(film.image, [film.masks[name]], [film.extents[name]])


def _structures(seed: int, atlas: Atlas, site: str) -> Iterable[Cell]:
    for index in range(4):
        patient = VirtualPatient(patient_seed(seed, index), atlas, site=site)
        image = patient.render(size=CELL_PX).image
        masks = {name: reduce_mask(mask, CELL_PX) for name, mask in patient.structures.items()}
        for title in ("lung", "lobe_right", "lobe_left", "heart aorta", "ribs", "clavicle"):
            shown = [mask for name, mask in masks.items() if name.startswith(tuple(title.split()))]
            yield title, outlined(image, shown)


def _tile(cells: Sequence[Cell]) -> np.ndarray:
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * CELL_PX, rows * (CELL_PX + CAPTION_PX)))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, (caption, image) in enumerate(cells):
        x, y = i % COLUMNS * CELL_PX, i // COLUMNS * (CELL_PX + CAPTION_PX)
        pen.text((x + 3, y), caption, fill=255, font=font)
        sheet.paste(Image.fromarray(np.uint8(255 * image + 0.5)), (x, y + CAPTION_PX))
    return np.asarray(sheet, dtype=np.float32) / 255
