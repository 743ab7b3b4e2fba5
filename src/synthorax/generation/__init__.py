"""generation: cohorts to order as prompts, curated texts for films that have labels alone, and the gate that checks texts.

Public names: :class:`CohortSpec`, :func:`read_cohort`, :func:`cohort_table`; :class:`Facts`, :func:`facts_of_labels`,
:func:`facts_of_text`, :func:`write_report`, :class:`Endpoint`, :func:`curate`; :func:`check_text` (a :class:`Verdict`
of :class:`TextError`).
"""

from synthorax.generation.facts import Facts, facts_of_labels, facts_of_text
from synthorax.generation.gate import TextError, Verdict, check_text
from synthorax.generation.report_writer import write_report

__all__ = [
    "Facts",
    "TextError",
    "Verdict",
    "check_text",
    "facts_of_labels",
    "facts_of_text",
    "write_report",
]
