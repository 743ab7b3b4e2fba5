"""The annotator on Open-I against its human codes: F1 for each label, and reports a second on one core.

    python benchmarks/concepts_openi.py GOLD.csv

The reports come from the installed package torchxrayvision. The gold has report_id, one 0/1 column a label
under the label's name, exclude, has_text and text_group.
"""

import argparse
import time
from pathlib import Path

import polars as pl

from synthorax.concepts import Vocabulary, annotate_studies
from synthorax.concepts.annotator import read_report
from synthorax.concepts.evaluation import label_scores
from synthorax.concepts.reading import read_studies
from synthorax.errors import InputError
from synthorax.studies.formats.openi import ARCHIVE, shipped


def main() -> None:
    """Print the scores of one policy and the speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gold", type=Path)
    parser.add_argument("--policy", default="strict")
    parser.add_argument("--vocabulary", default="corpa")
    parser.add_argument("--repeats", type=int, default=3, help="timed passes; the fastest counts")
    arguments = parser.parse_args()
    archive = shipped(ARCHIVE)
    if archive is None:
        raise InputError(
            "torchxrayvision is not installed; expected its Open-I reports. Install synthorax[xrv]."
        )
    vocabulary = Vocabulary.load(arguments.vocabulary, arguments.policy)
    studies, _ = read_studies(archive, "openi")
    table, gold = annotate_studies(studies, vocabulary), pl.read_csv(arguments.gold)
    scores = label_scores(table, gold, vocabulary)
    for row in scores.iter_rows(named=True):
        interval = f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        print(f"{row['label']:<24} F1 {row['f1']:.3f} {interval}  positives {row['n_positive'] or ''}")
    flags = [name for name in gold.columns if name.startswith("ambiguous_")]
    clear = gold.filter(pl.sum_horizontal(flags) == 0)
    macro = label_scores(table, clear, vocabulary, n_bootstrap=1)["f1"][-1]
    print(f"{'macro, ambiguous dropped':<24} F1 {macro:.3f}  of {clear.height} reports")
    fold = (pl.col("text_group").str.slice(0, 8).str.to_integer(base=16) % 5).alias("fold")
    parts = gold.with_columns(fold).partition_by("fold")
    folds = [label_scores(table, part, vocabulary, n_bootstrap=1)["f1"][-1] for part in parts]
    print(
        f"{'macro of five folds':<24} F1 {sum(folds) / 5:.3f}  {' '.join(f'{x:.3f}' for x in sorted(folds))}"
    )
    reports = studies["report"].to_list()
    print(
        f"{max(reports_per_second(reports, vocabulary) for _ in range(arguments.repeats)):.0f} reports/s on one core, no cache"
    )


def reports_per_second(reports: list[str], vocabulary: Vocabulary) -> float:
    """Reports read in a second of this process's own time."""
    read_report(reports[0], vocabulary)
    start = time.process_time()
    for report in reports:
        read_report(report, vocabulary)
    return len(reports) / (time.process_time() - start)


if __name__ == "__main__":
    main()
