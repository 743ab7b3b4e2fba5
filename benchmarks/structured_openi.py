"""Structured reports on Open-I: hierarchical F1 against its human codes, of the reports as they are and put in order.

    SYNTHORAX_OPENI_GOLD=GOLD.csv python benchmarks/structured_openi.py

The reports come from the installed package torchxrayvision and are only read. Equal figures in both rows mean that putting a
report in order loses nothing that the annotator reads.
"""

import argparse
import os
from pathlib import Path

import polars as pl

from synthorax.concepts import Vocabulary, annotate_studies
from synthorax.concepts.evaluation import hierarchical_scores
from synthorax.concepts.reading import read_studies
from synthorax.concepts.structured import OTHER, structure
from synthorax.errors import InputError
from synthorax.studies.formats.openi import ARCHIVE, shipped


def main() -> None:
    """Print the two rows of each level, and how many sentences found no heading."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", default="corpa")
    arguments = parser.parse_args()
    archive = shipped(ARCHIVE)
    if archive is None or "SYNTHORAX_OPENI_GOLD" not in os.environ:
        raise InputError(
            "expected torchxrayvision's Open-I reports and SYNTHORAX_OPENI_GOLD. Install synthorax[xrv], name the gold."
        )
    vocabulary, gold = (
        Vocabulary.load(arguments.vocabulary),
        pl.read_csv(Path(os.environ["SYNTHORAX_OPENI_GOLD"])),
    )
    studies, _ = read_studies(archive, "openi")
    ordered = [structure(report) for report in studies["report"]]
    n = sum(len(some) for one in ordered for some in one.findings.values())
    others = sum(len(one.findings.get(OTHER, ())) for one in ordered)
    print(f"{studies.height} reports, {n} sentences of findings, {others} ({others / n:.1%}) under no organ")
    texts = {
        "as they are": studies,
        "in order": studies.with_columns(pl.Series("report", [one.text() or None for one in ordered])),
    }
    for name, table in texts.items():
        for row in hierarchical_scores(annotate_studies(table, vocabulary), gold, vocabulary).iter_rows(
            named=True
        ):
            interval = f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
            print(
                f"{name:12} {row['level']:9} hF {row['f1']:.3f} {interval}  hP {row['precision']:.3f}  hR {row['recall']:.3f}  {row['n_nodes']} nodes, {row['n_reports']} reports"
            )


if __name__ == "__main__":
    main()
