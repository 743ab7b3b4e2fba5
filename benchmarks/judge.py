"""The small judge against planted errors on held-out patients, templates and wordings, by what it was taught on.

    python benchmarks/judge.py COHORT/studies.parquet [--openi] [--copies 3]

COHORT is a cohort of virtual patients, e.g. of `synthorax phantom sample --n 800 --seed 11 --site mixed`. With --openi the
reports of Open-I (from the installed package torchxrayvision, read there and kept nowhere) are a second corpus: one judge
is taught on virtual patients alone and one on both, and both are tested on both.
"""

import argparse
from pathlib import Path

import polars as pl

from synthorax.concepts import Vocabulary
from synthorax.concepts.reading import read_studies
from synthorax.errors import InputError
from synthorax.generation.judge import Settings, train
from synthorax.generation.judging import evaluate_judges, gate_judge, planted_of
from synthorax.generation.planting import HELD_OUT, TRAINING
from synthorax.studies.formats.openi import ARCHIVE, shipped


def main() -> None:
    """Print one table a corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path)
    parser.add_argument("--openi", action="store_true")
    parser.add_argument("--copies", type=int, default=3)
    arguments = parser.parse_args()
    vocabulary = Vocabulary.load("openchest")
    corpora = {"virtual": pl.read_parquet(arguments.studies)}
    if arguments.openi:
        archive = shipped(ARCHIVE)
        if archive is None:
            raise InputError(
                "torchxrayvision is not installed; expected its Open-I reports. Install synthorax[xrv]."
            )
        corpora["Open-I"] = read_studies(archive, "openi")[0]
    taught, judges = [], {}
    for reports in corpora.values():
        taught += planted_of(reports, vocabulary, part=TRAINING, copies=arguments.copies)[0]
        judges[f"taught on {' and '.join(list(corpora)[: len(judges) + 1])}"] = train(taught, Settings())
    *others, last = judges.items()
    for name, reports in corpora.items():
        texts, patients = planted_of(reports, vocabulary, part=HELD_OUT, copies=arguments.copies)
        table = evaluate_judges(
            {"judge": last[1], "gate": gate_judge(vocabulary), **dict(others)}, texts, patients
        )
        print(f"\n{name}: {len(texts)} texts of {len(set(patients))} patients; 'judge' is {last[0]}\n")
        columns = table["judge"].unique(maintain_order=True).to_list()
        print(f"| figure | planted | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 2)}")
        for (figure,), rows in table.group_by("figure", maintain_order=True):
            cells = [
                f"{r['f1']:.3f} [{r['ci_low']:.3f}, {r['ci_high']:.3f}]" for r in rows.iter_rows(named=True)
            ]
            print(f"| {figure} | {rows['n_planted'][0]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
