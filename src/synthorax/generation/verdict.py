"""What the gate finds: errors with MedVAL's category (arXiv 2507.03152) and level of risk, and the verdict on a text."""

from collections.abc import Callable
from dataclasses import dataclass

#: Kind of error -> (MedVAL's category, level of risk).
KINDS = {
    "dropped finding": ("missing claim", 3),
    "added finding": ("fabricated claim", 3),
    "contradicted finding": ("fabricated claim", 4),
    "wrong side": ("detail misidentification", 4),
    "added side": ("fabricated claim", 3),
    "dropped side": ("missing context", 2),
    "wrong place": ("detail misidentification", 3),
    "wrong measure": ("detail misidentification", 3),
    "overstated severity": ("overstating intensity", 3),
    "understated severity": ("understating intensity", 3),
    "added severity": ("fabricated claim", 2),
    "dropped severity": ("missing context", 1),
    "overstated certainty": ("overstating intensity", 2),
    "understated certainty": ("understating intensity", 2),
    "added denial": ("fabricated claim", 2),
    "dropped denial": ("missing claim", 1),
    "wrong age": ("detail misidentification", 3),
    "wrong sex": ("detail misidentification", 3),
    "wrong view": ("detail misidentification", 2),
    "added person": ("fabricated claim", 2),
    "dropped person": ("missing context", 2),
    "false comparison": ("false comparison", 2),
    "recommendation": ("incorrect recommendation", 2),
    "unsupported sentence": ("fabricated claim", 2),
    "dropped sentence": ("missing claim", 2),
    "length": ("other", 2),
}
#: The kind of an error that a judge finds, or that was planted for one: it has a category and a level of its own.
JUDGED = "judged"
#: MedVAL's categories.
CATEGORIES = (
    "fabricated claim", "misleading justification", "detail misidentification", "false comparison", "incorrect recommendation",
    "missing claim", "missing comparison", "missing context", "overstating intensity", "understating intensity", "other",
)  # fmt: skip
#: A text passes where no error is of this level or above.
FAILS_FROM = 2


@dataclass(frozen=True, slots=True)
class TextError:
    """One thing that a text gets wrong.

    Attributes:
        kind: one of :data:`KINDS`, which gives ``category`` and ``risk``; or :data:`JUDGED`.
        concept: the finding; None where it is none.
        said: the words of the text; empty where something is missing.
        source: what the source says; empty where it says nothing.
        category: MedVAL's category, one of :data:`CATEGORIES`.
        risk: 1 to 4, MedVAL's levels.
    """

    kind: str
    concept: str | None
    said: str
    source: str
    category: str = ""
    risk: int = 0

    def __post_init__(self) -> None:
        if not self.category:
            category, risk = KINDS[self.kind]
            object.__setattr__(self, "category", category)
            object.__setattr__(self, "risk", risk)


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a text: its errors, the worst first."""

    errors: tuple[TextError, ...]

    @property
    def risk(self) -> int:
        """The highest level of any error; 1 where there is none."""
        return max((error.risk for error in self.errors), default=1)

    @property
    def is_passed(self) -> bool:
        """Whether no error is of level :data:`FAILS_FROM` or above."""
        return self.risk < FAILS_FROM


#: Text, source report -> the verdict.
Judge = Callable[[str, str], Verdict]


def both(one: Verdict, other: Verdict) -> Verdict:
    """The errors of two verdicts on one text, the worst first."""
    return Verdict(tuple(sorted((*one.errors, *other.errors), key=lambda error: -error.risk)))
