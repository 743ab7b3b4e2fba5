"""concepts: reports and label columns to clinical concepts, with the spans that say so.

Public names: :class:`ConceptVector`, :class:`Vocabulary`, :func:`label_column`.
"""

from synthorax.concepts.vector import ConceptVector
from synthorax.concepts.vocabulary import Vocabulary, label_column

__all__ = ["ConceptVector", "Vocabulary", "label_column"]
