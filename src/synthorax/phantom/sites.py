"""Site styles: how a hospital takes its films, so that two hospitals can be simulated.

A style says which share of films is AP and supine, how often devices are there, the ranges from which exposure and
processing are drawn, and how films are marked. The anatomy is drawn alike everywhere.
"""

from functools import lru_cache
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict, Field

from synthorax.errors import unknown_choice

DEFAULT_SITE = "public"
Range = tuple[float, float]


class SiteStyle(BaseModel):
    """One hospital's way of taking films.

    Attributes:
        ap_share, supine_share: share of films taken AP, and of those the share lying down.
        device_factor: how many times more often devices are there than in ``public``.
        disease_factor: the same for findings that no concept names.
        log10_photons, scatter, equalisation, detail, contrast, gamma, white, black_offset: ranges of uniform draws;
            what each does is said at :class:`~synthorax.phantom.anatomy.Anatomy`.
        zoom, shift_px, exposure: how films are framed (zoom above 1 shows more round the chest; deviations of the shift
            and of the exposure error).
        grain_px: blur of the noise by detector and downsampling; 0 leaves most of it white.
        background: how far films are blackened where the bare beam hit the detector: 1 wholly.
        shoulders: whether arms hang down, with air above the shoulders; otherwise they are up, as in the CT.
        border_share, marker_share: share of films with a collimation border, and with a marker.
        marker_rows: highest and lowest row of the marker.
        marker: the side marker's letter; ``R`` stands at the patient's right.
        ap_words, ap_words_rows: what is written on AP films (may be empty), between which rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ap_share: float = Field(ge=0, le=1)
    supine_share: float = Field(ge=0, le=1)
    device_factor: float = Field(ge=0)
    disease_factor: float = Field(ge=0)
    log10_photons: Range
    scatter: Range
    equalisation: Range
    detail: Range
    contrast: Range
    gamma: Range
    white: Range
    black_offset: Range
    zoom: Range
    shift_px: float = Field(ge=0)
    exposure: float = Field(ge=0)
    grain_px: Range
    background: Range
    shoulders: bool
    border_share: float = Field(ge=0, le=1)
    marker_share: float = Field(ge=0, le=1)
    marker: str = Field(pattern="^[LR]$")
    marker_rows: tuple[int, int]
    ap_words: str
    ap_words_rows: tuple[int, int]


@lru_cache
def site_styles() -> dict[str, SiteStyle]:
    """All styles by name, from ``sites.yaml``; each states only what differs from ``public``."""
    table = yaml.safe_load((files("synthorax.phantom") / "sites.yaml").read_text())
    return {
        name: SiteStyle(**table[DEFAULT_SITE] | (differences or {})) for name, differences in table.items()
    }


def site_style(name: str) -> SiteStyle:
    """The style of that name.

    Raises:
        InputError: no such style.
    """
    styles = site_styles()
    if name not in styles:
        raise unknown_choice("site", name, styles)
    return styles[name]
