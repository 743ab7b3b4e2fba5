"""concepts: reports and label columns to clinical concepts, with the spans that say so.

Public names: :class:`ConceptVector`, :class:`Vocabulary`, :func:`label_column`; by report :func:`annotate`
(an :class:`Annotation` of :class:`Mention`); by table :func:`annotate_studies`, :func:`from_label_columns`,
:func:`concept_columns`, :func:`vector_of`, :func:`read_concepts`, :func:`write_concepts`.
"""

from synthorax.concepts.annotator import Annotation, Mention, annotate
from synthorax.concepts.label_columns import from_label_columns
from synthorax.concepts.studies_table import annotate_studies
from synthorax.concepts.table import concept_columns, read_concepts, vector_of, write_concepts
from synthorax.concepts.vector import ConceptVector
from synthorax.concepts.vocabulary import Vocabulary, label_column

__all__ = [
    "Annotation",
    "ConceptVector",
    "Mention",
    "Vocabulary",
    "annotate",
    "annotate_studies",
    "concept_columns",
    "from_label_columns",
    "label_column",
    "read_concepts",
    "vector_of",
    "write_concepts",
]
