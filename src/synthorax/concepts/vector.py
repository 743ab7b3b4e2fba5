"""A film as the clinical concepts it shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConceptVector:
    """Which concepts a film shows; unknown is kept apart from absent.

    Attributes:
        present: concepts that the film shows.
        unknown: concepts that nobody asked about or nobody decided. Every other concept of the
            vocabulary is known to be absent.
    """

    present: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "present", frozenset(self.present))
        object.__setattr__(self, "unknown", frozenset(self.unknown))
        if both := sorted(self.present & self.unknown):
            raise ValueError(f"concept {both[0]!r} is both present and unknown; it can only be one of them.")

    def state(self, concept: str) -> bool | None:
        """True where present, False where known to be absent, None where unknown."""
        return None if concept in self.unknown else concept in self.present
