"""In-context examples for a describer: which, how many, in what order, and one that misleads (SMMILE, arXiv 2506.21355).

    films with reports -> the k most similar to the film -> ordered, the most relevant last -> shown before the question

SMMILE finds that the order matters (the last example weighs most) and that one irrelevant example harms. Similarity is the
cosine of two films of 32 x 32 px after mean and deviation are taken out: pose and exposure as much as disease, and no model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from synthorax.concepts import Vocabulary, annotate
from synthorax.errors import InputError, unknown_choice
from synthorax.progress import track
from synthorax.seeds import generator
from synthorax.studies import read_film

ORDERS = ("relevant-last", "relevant-first", "random")
CHOICES = ("similar", "random")
SIDE_PX = 32


@dataclass(frozen=True)
class Example:
    """A film, its report, and how alike it is to the film that is asked about (-1 to 1)."""

    path: Path
    report: str
    similarity: float


@dataclass(frozen=True)
class Examples:
    """A library of films with reports, and how examples are taken from it.

    Attributes:
        films: ``file_name`` and ``report``.
        k: examples a film.
        choice: ``similar``, or ``random`` for comparison.
        order: the most relevant ``relevant-last``, ``relevant-first``, or ``random``.
        noisy: one of them, drawn by chance, is given the report of the least similar film of another report.
        seed: of what is drawn; an example depends on it and on the film alone.
    """

    films: pl.DataFrame = field(repr=False)
    k: int = 3
    choice: str = "similar"
    order: str = "relevant-last"
    noisy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value, allowed in (("order", self.order, ORDERS), ("choice", self.choice, CHOICES)):
            if value not in allowed:
                raise unknown_choice(f"examples' {what}", value, allowed)
        if self.films.height <= self.k:
            raise InputError(f"{self.films.height} films with reports are too few for {self.k} examples; expected more. Give a larger table, or fewer examples.")  # fmt: skip

    @cached_property
    def _library(self) -> np.ndarray:
        names = self.films["file_name"].to_list()
        return np.array([thumbnail(Path(name)) for name in track(names, "Examples read")])

    def of(self, path: Path) -> list[Example]:
        """The examples of a film, in the order in which they are shown."""
        alike = self._library @ thumbnail(path)
        rng = generator(self.seed, "examples", path.name)
        best = np.argsort(-alike, kind="stable") if self.choice == "similar" else rng.permutation(len(alike))
        names, reports = self.films["file_name"].to_list(), self.films["report"].to_list()
        chosen = [Example(Path(names[i]), reports[i], float(alike[i])) for i in best[: self.k]]
        if self.noisy and chosen:
            spoilt = int(rng.integers(self.k))
            far = next(
                (i for i in np.argsort(alike, kind="stable") if reports[i] != chosen[spoilt].report), None
            )
            if far is not None:
                chosen[spoilt] = Example(chosen[spoilt].path, reports[far], chosen[spoilt].similarity)
        if self.order == "random":
            return [chosen[i] for i in rng.permutation(len(chosen))]
        return sorted(chosen, key=lambda example: example.similarity, reverse=self.order == "relevant-first")

    def name(self) -> str:
        """The settings in words, under which answers are kept."""
        return f"{self.k} {self.choice} {self.order}{' one noisy' if self.noisy else ''} {self.seed}"


def read_examples(studies: pl.DataFrame, leave_out: Sequence[str], source: str, **how: object) -> Examples:
    """Films with reports of a manifest, without the patients that are asked about.

    Raises:
        InputError: no reports, or too few are left.
    """
    if not {"file_name", "report"} <= set(studies.columns):
        raise InputError(f"{source} has the columns {', '.join(studies.columns)}; expected file_name and report. Give a manifest with reports.")  # fmt: skip
    films = studies.filter(pl.col("report").is_not_null(), pl.col("file_name").is_not_null())
    if "patient_id" in films.columns:
        films = films.filter(~pl.col("patient_id").is_in([*leave_out]))
    return Examples(films.select("file_name", "report"), **how)  # type: ignore[arg-type]


def thumbnail(path: Path) -> np.ndarray:
    """``(1024,)`` float64 of length 1: the film at 32 x 32 px, mean taken out; zeros where it has one grey value."""
    image = Image.fromarray(np.asarray(read_film(path).pixels, dtype=np.float32))
    small = np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX), dtype=float).ravel()
    small -= small.mean()
    length = np.linalg.norm(small)
    return small / length if length > 1e-9 else small


def describe_by_examples(examples: Examples, vocabulary: Vocabulary) -> Callable[[Sequence[Path]], list[str]]:
    """A describer without a language model: each finding that the examples' reports affirm with half of the weight or more.

    The weights are the similarities (0 where negative). It learns from its context alone, as a nearest-neighbour vote does;
    the order of the examples is nothing to it, so it cannot show SMMILE's recency.
    """

    def describe(paths: Sequence[Path]) -> list[str]:
        return [_voted(examples.of(path), vocabulary) for path in paths]

    return describe


def _voted(examples: Sequence[Example], vocabulary: Vocabulary) -> str:
    weights = np.array([max(example.similarity, 0.0) for example in examples])
    if not weights.sum():
        weights = np.ones(len(examples))
    present = [annotate(example.report, vocabulary).vector.present for example in examples]
    told = [c for c in vocabulary.pathologies if sum(w for w, some in zip(weights, present, strict=True) if c in some) >= weights.sum() / 2]  # fmt: skip
    return " ".join(f"{vocabulary.phrase(concept)}." for concept in told) or f"{vocabulary.phrase(vocabulary.unremarkable)}."  # fmt: skip
