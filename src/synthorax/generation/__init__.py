"""generation: cohorts to order as prompts, curated texts for films that have labels alone, and the gate that checks texts.

Public names: :func:`read_cohort`, :func:`cohort_table`, :func:`film_prompt`; :class:`Facts`, :func:`facts_of_labels`,
:func:`facts_of_text`, :func:`write_report`, :func:`write_reports`, :class:`Endpoint`; :func:`check_text` (a
:class:`Verdict` of :class:`TextError`), :func:`check_texts`.
"""

from synthorax.endpoint import Endpoint
from synthorax.generation.cohort import cohort_table, read_cohort
from synthorax.generation.curation import check_texts, write_reports
from synthorax.generation.facts import Facts, facts_of_labels, facts_of_text
from synthorax.generation.gate import check_text
from synthorax.generation.prompts import film_prompt
from synthorax.generation.report_writer import write_report
from synthorax.generation.verdict import TextError, Verdict

__all__ = [
    "Endpoint",
    "Facts",
    "TextError",
    "Verdict",
    "check_text",
    "check_texts",
    "cohort_table",
    "facts_of_labels",
    "facts_of_text",
    "film_prompt",
    "read_cohort",
    "write_report",
    "write_reports",
]
