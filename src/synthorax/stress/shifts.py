"""Which edit makes which shift; RadEdit's acquisition, manifestation and population shift value by value."""

from collections.abc import Mapping
from dataclasses import dataclass

from synthorax.errors import InputError, unknown_choice

#: What stays inside a film: all outside the edit mask, what a mask file says, or nothing.
KEEPS = ("rest", "file", "nothing")
#: Edits below this editing score are left out (RadEdit, section 4.4).
LEAST_SCORE = 0.2


@dataclass(frozen=True)
class Shift:
    """An edit that changes the target and keeps what a model may have learned instead.

    Attributes:
        name: of the shift.
        prompt: what the edited films show.
        text_before: what their sources show, where the table has no caption: the sham's prompt and the score's text.
        target_after: 1 or 0, the edited films' target; films with the other target are edited.
        keep: one of :data:`KEEPS`.
        dilation_px: by how much masks are widened, on films of 512 px (others in proportion); for contours that are
            drawn tight.
        needs_mask: films without an edit mask are not edited; otherwise they are edited as a whole.
        source: where the values come from.
    """

    name: str
    prompt: str
    text_before: str = ""
    target_after: int = 0
    keep: str = "nothing"
    dilation_px: float = 0
    needs_mask: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        if self.keep not in KEEPS:
            raise unknown_choice("keep", self.keep, KEEPS)
        if self.target_after not in (0, 1):
            raise InputError(f"target_after is {self.target_after}; expected 0 or 1.")
        if not self.prompt.strip():
            raise InputError("the shift's prompt is empty; say what the edited films should show.")


SHIFTS: Mapping[str, Shift] = {
    "acquisition": Shift(
        "acquisition",
        prompt="No acute cardiopulmonary process",
        text_before="Opacities",
        keep="rest",
        source="Perez-Garcia et al. 2023, section 5.2, appendix B",
    ),
    "manifestation": Shift(
        "manifestation",
        prompt="No acute cardiopulmonary process.",
        text_before="Pneumothorax",
        keep="file",
        dilation_px=5,
        source="Perez-Garcia et al. 2023, section 5.3, appendix C",
    ),
}


def _lungs(name: str, prompt: str, keep: str) -> Shift:
    return Shift(name, prompt, "No acute cardiopulmonary process.", target_after=1, keep=keep, source="Perez-Garcia et al. 2023, section 5.4, appendix D")  # fmt: skip


_PACEMAKER = "Left pectoral pacemaker in place. The position of the leads is as expected. Otherwise unremarkable chest radiographic examination."

#: Abnormality -> the lung that is edited (the other is kept, all outside is free) -> the edit. Targets count nothing here.
#: The paper does not say which lung a pacemaker's edit takes: the left, whose side it names.
POPULATION: Mapping[str, Mapping[str, Shift]] = {
    "oedema": {"both": _lungs("oedema", "Moderate pulmonary oedema. The heart size is normal.", "nothing")},
    "pacemaker": {"left": _lungs("pacemaker", _PACEMAKER, "file")},
    "consolidation": {
        side: _lungs("consolidation", f"New {side} upper lobe consolidation.", "file")
        for side in ("left", "right")
    },
}
#: The same in the embedded model's words: it knows sides, but no lobes and no severities.
EMBEDDED_PROMPTS: Mapping[str, Mapping[str, str]] = {
    "oedema": {"both": "Pulmonary oedema."},
    "pacemaker": {"left": "Pacemaker in place."},
    "consolidation": {"left": "Left consolidation.", "right": "Right consolidation."},
}
