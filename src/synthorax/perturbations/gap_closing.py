"""What an edit does for the coverage: it brings combinations nearer to the count that is called covered.

    need(c)  = max(0, 1 - count(c) / rare_below)         for each valid combination c; 1 where never seen
    gain(t)  = sum of need(c) over the pairs and triples c of concepts and of labels in the target t

The budget is spent greedily: the edit with the largest gain is taken, its combinations are counted, and so
on. The gain never grows, so an outdated one at the top of the heap is all that must be looked at again.
"""

import heapq
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from synthorax.concepts import ConceptVector, Vocabulary
from synthorax.coverage import coverage
from synthorax.coverage.ranking import RARE_BELOW
from synthorax.perturbations.kinds import Candidate


class GapWeights:
    """How much each valid combination is wanted, by how often it occurs."""

    def __init__(
        self, count: dict[frozenset[str], int], vocabulary: Vocabulary, enough: int = RARE_BELOW
    ) -> None:
        self.count, self.vocabulary, self.enough = count, vocabulary, enough
        self._gain: dict[frozenset[str], float] = {}
        self._combinations: dict[frozenset[str], tuple[frozenset[str], ...]] = {}

    @classmethod
    def of(cls, concept_table: pl.DataFrame, vocabulary: Vocabulary) -> "GapWeights":
        """The weights that follow from a cohort's coverage."""
        covered = coverage(concept_table, vocabulary).filter("is_valid", pl.col("order") > 1)
        names = map(frozenset, covered["combination"].to_list())
        return cls(dict(zip(names, covered["count"].to_list(), strict=True)), vocabulary)

    def of_targets(self, choices: Iterable[Candidate]) -> np.ndarray:
        """The gain of each candidate's target, from the cohort's counts."""
        return np.array([self.gain(choice.target.present) for choice in choices])

    def gain(self, present: frozenset[str]) -> float:
        """The gain of one target, from the cohort's counts."""
        if present not in self._gain:
            self._gain[present] = sum(self._need(self.count[c]) for c in self._inside(present))
        return self._gain[present]

    def greedy(self, targets: Sequence[Iterable[str]], tie_break: Sequence[int], budget: int) -> set[int]:
        """Positions of the ``budget`` targets that close most gap together; ties go to the smaller number."""
        count = dict(self.count)
        present = [frozenset(target) for target in targets]
        heap = [(-self.gain(present[i]), tie_break[i], i) for i in range(len(present))]
        heapq.heapify(heap)
        taken: set[int] = set()
        while heap and len(taken) < budget:
            _, tie, position = heapq.heappop(heap)
            inside = self._inside(present[position])
            gain = sum(self._need(count[c]) for c in inside)
            if heap and (-gain, tie) > heap[0][:2]:
                heapq.heappush(heap, (-gain, tie, position))
                continue
            taken.add(position)
            for combination in inside:
                count[combination] += 1
        return taken

    def _need(self, count: int) -> float:
        return max(0.0, 1 - count / self.enough)

    def _inside(self, present: frozenset[str]) -> tuple[frozenset[str], ...]:
        """The pairs and triples of concepts and of labels that a target with these concepts has."""
        if present not in self._combinations:
            labels = self.vocabulary.true_labels(ConceptVector(present))
            self._combinations[present] = tuple(
                frozenset(combination)
                for names in (sorted(present), labels)
                for size in (2, 3)
                for combination in itertools.combinations(names, size)
            )
        return self._combinations[present]
