"""In-context examples without a language model: a vote of the k nearest films' reports, measured on concept agreement.

    python benchmarks/in_context.py COHORT/studies.parquet

Library: the cohort's patients but one in ten; asked about: that tenth, never in the library. A vote cannot see the order of
its examples, so order is measured with a vision-language model alone (`evaluate semantic --examples`).
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from synthorax.classifiers.statistics import mean_interval
from synthorax.concepts import Vocabulary, annotate
from synthorax.quality.agreement import agreement
from synthorax.quality.in_context import Examples, describe_by_examples
from synthorax.seeds import is_held_out
from synthorax.studies import read_manifest


def main() -> None:
    """Print one line a setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path)
    arguments = parser.parse_args()
    vocabulary = Vocabulary.load()
    films = read_manifest(arguments.studies).filter(pl.col("report").is_not_null())
    asked = films.filter(pl.col("patient_id").map_elements(is_held_out, return_dtype=pl.Boolean))
    library = films.filter(~pl.col("patient_id").is_in(asked["patient_id"].to_list()))
    concepts = vocabulary.pathologies

    def vectors(reports: list[str]) -> np.ndarray:
        return np.array(
            [[float(c in annotate(r, vocabulary).vector.present) for c in concepts] for r in reports]
        )

    truth, paths = vectors(asked["report"].to_list()), [Path(name) for name in asked["file_name"]]
    sick = truth.any(1)
    shared = Examples(library.select("file_name", "report"))._library
    for k in (1, 3, 5, 9, 15):
        for choice in ("similar", "random"):
            for noisy in (False, True):
                examples = Examples(library.select("file_name", "report"), k=k, choice=choice, noisy=noisy)
                examples.__dict__["_library"] = shared
                found = vectors(describe_by_examples(examples, vocabulary)(paths))
                values = agreement(truth, found)["jaccard"].to_numpy()
                parts = [
                    mean_interval(values[rows], [str(p) for p, keep in zip(paths, rows, strict=True) if keep])
                    for rows in (sick | True, sick)
                ]
                told = ", ".join(f"{p.estimate:.3f} ({p.ci_low:.3f} to {p.ci_high:.3f})" for p in parts)
                print(
                    f"k {k:2}  {choice:7} {'one noisy' if noisy else '         '}  Jaccard {told} of films with findings"
                )
    print(f"{len(paths)} films, {int(sick.sum())} with findings; library {library.height}")


if __name__ == "__main__":
    main()
