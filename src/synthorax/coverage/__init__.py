"""coverage: what a cohort's films never or rarely show together, clinically valid combinations only.

Public names: :func:`coverage` (every combination), :func:`gaps` (the ranked gaps), :func:`compare` (before
and after), :func:`coverage_by_group`, :func:`whole_vectors`, :func:`conflicts` (reports that contradict
themselves), :func:`distinct_vectors`, :func:`write_page`.
"""

from synthorax.coverage.comparison import compare
from synthorax.coverage.counting import combination_counts, distinct_vectors
from synthorax.coverage.groups import coverage_by_group
from synthorax.coverage.page import write_page
from synthorax.coverage.ranking import coverage, gaps
from synthorax.coverage.vectors import conflicts, whole_vectors

__all__ = [
    "combination_counts",
    "compare",
    "conflicts",
    "coverage",
    "coverage_by_group",
    "distinct_vectors",
    "gaps",
    "whole_vectors",
    "write_page",
]
