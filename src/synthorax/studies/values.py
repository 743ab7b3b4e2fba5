"""Cell values of the manifest: what is allowed, how sets spell it, and the sentence for what fits neither."""

import math
from collections.abc import Mapping
from typing import Any

VIEWS = ("PA", "AP", "LATERAL")
SEXES = ("F", "M")
MAX_AGE = 120

# As NIH, MIMIC-CXR, Hannover, PadChest and DICOM (PS3.3 C.8.11.5.1.1 and CID 4010) spell them. Obliques, decubitus,
# axial and lordotic views are other projections and deliberately not here.
_VIEW_SPELLINGS = {
    "PA": ("PA", "POSTERO-ANTERIOR", "POSTEROANTERIOR"),
    "AP": (
        "AP",
        "ANTERO-POSTERIOR",
        "ANTEROPOSTERIOR",
        "AP SUPINE",
        "AP HORIZONTAL",
        "AP ERECT",
        "AP PORTABLE",
        "PORTABLE AP",
    ),
    "LATERAL": (
        "LATERAL",
        "LAT",
        "L",
        "LL",
        "RL",
        "LEFT LATERAL",
        "RIGHT LATERAL",
        "XTABLE LATERAL",
        "LARGE LATERAL",
    ),
}
_VIEW_OF = {spelling: view for view, spellings in _VIEW_SPELLINGS.items() for spelling in spellings}
_SEX_OF = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M"}
_NOT_STATED = ("", "UNKNOWN", "UNK", "U", "O", "OTHER", "NAN", "NONE", "N/A", "UNSPECIFIED")
_YEARS_PER = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def _text(raw: object) -> str:
    return "" if raw is None else str(raw).strip()


def view_position(raw: object) -> str | None:
    """PA, AP or LATERAL from a set's spelling; None where not stated; another projection as it is."""
    text = _text(raw)
    key = text.upper().replace("_", " ")
    return None if key in _NOT_STATED else _VIEW_OF.get(key, text)


def sex(raw: object) -> str | None:
    """F or M from a set's spelling; None where not stated (or other); anything else as it is."""
    text = _text(raw)
    return None if text.upper() in _NOT_STATED else _SEX_OF.get(text.upper(), text)


def age_years(raw: object) -> float | str | None:
    """Years from ``58``, ``58.0``, ``058Y``, ``003M``, ``02W`` or ``010D``; None where blank.

    What is no age comes back as it is.
    """
    text = _text(raw).upper()
    if text in _NOT_STATED:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1] in _YEARS_PER else (text, "Y")
    try:
        return float(number) * _YEARS_PER[unit]
    except ValueError:
        return text


def defect(row: Mapping[str, Any]) -> str | None:
    """The first thing wrong with a manifest row (value, allowed, remedy), or None."""
    for column in ("image_id", "study_id", "patient_id"):
        if not _text(row[column]):
            return f"{column} is blank; expected a text. Name it."
    view = row["view_position"]
    if view is not None and view not in VIEWS:
        remedy = (
            "Split the row or set it to one of them."
            if "/" in str(view)
            else "Leave the film out or correct it."
        )
        return f"view_position is {view!r}; expected PA, AP or LATERAL. {remedy}"
    if row["sex"] is not None and row["sex"] not in SEXES:
        return f"sex is {row['sex']!r}; expected F or M. Correct the cell or leave it blank."
    age = row["age"]
    if age is not None and not (isinstance(age, int | float) and math.isfinite(age) and 0 <= age <= MAX_AGE):
        shown = f"{age:g}" if isinstance(age, int | float) else repr(age)
        return (
            f"age is {shown}; expected years from 0 to {MAX_AGE} (58, 058Y or 003M). "
            "Correct the cell or leave it blank."
        )
    lists = {name: set(row[f"labels_{name}"] or ()) for name in ("present", "absent", "uncertain")}
    for one, other in (("present", "absent"), ("present", "uncertain"), ("absent", "uncertain")):
        both = sorted(lists[one] & lists[other])
        if both:
            return (
                f"{both[0]!r} is in labels_{one} and in labels_{other}; expected one of them. Take one out."
            )
    return None
