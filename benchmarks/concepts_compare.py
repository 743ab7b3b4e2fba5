"""The annotator beside its peers on Open-I: macro-F1, trap sentences, reports a second, as one Markdown table.

    python benchmarks/concepts_compare.py GOLD.csv --peers-env FOLDER [--traps TRAPS.yaml] [--out TABLE.md]

Every labeller reads the same texts with the same wordings: findings and impression of the reports in the installed
package torchxrayvision. The gold is that of concepts_openi.py. TRAPS is a list of ``{text, present, uncertain,
trap}``; an entry is right where exactly the concepts of ``present`` are found. Speed is by the process's own time on
one thread, without loading, over passes of at least ``--at-least-s`` together; no labeller remembers a text.

The peers run in an environment of their own, made in FOLDER on the first call (300 MB from the package registry).
The pins need Python 3.11; with another, name one by ``--peers-python``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path

import polars as pl
import yaml

from synthorax.concepts import ConceptVector, Vocabulary, annotate, concept_columns
from synthorax.concepts.evaluation import MACRO, label_scores
from synthorax.concepts.reading import read_studies
from synthorax.concepts.sections import usable_sections
from synthorax.studies.formats.openi import ARCHIVE, shipped

#: They work together: medspacy 1.3.1 wants spaCy below 3.8, negspacy 1.1 wants 3.8; PyRuSH 1.0.12 and 1.0.13 write
#: each step to the terminal.
PINS = ("medspacy==1.3.1", "PyRuSH==1.0.9", "negspacy==1.0.4", "spacy==3.7.5", "numpy==1.26.4")
PEERS = {
    "medspacy": "medspaCy ConText, as it loads",
    "medspacy_sentencizer": "medspaCy ConText, sentences by spaCy",
    "negspacy": "negspaCy, `en_clinical`",
    "corpa": "words, 'no' and 'without', after the description of CoRPA's matcher",
}
Texts = dict[str, str]
#: The present concepts by the text's id, and the seconds of a pass.
Found = tuple[dict[str, frozenset[str]], float]


def usable_text(report: str) -> str:
    """Findings and impression without their headings, each with a full stop at its end."""
    parts = (report[section.start : section.end].strip() for section in usable_sections(report))
    return "\n\n".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)


def wordings(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Concept -> phrases. Two words at a distance, which peers cannot express, are given in their plain orders."""
    orders = ("{0} {1}", "{1} {0}", "{0} is {1}", "{1} of the {0}")
    found = {name: list(concept.phrases) for name, concept in vocabulary.by_name.items()}
    for name, concept in vocabulary.by_name.items():
        for pair in concept.together:
            found[name] += [order.format(*two) for two in product(*pair) for order in orders]
    return found


def peers_python(folder: Path, python: str) -> Path:
    """The interpreter of the peers' environment, which is made or completed where needed."""
    found = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not found.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([found, "-m", "pip", "install", "-qq", *PINS], check=True)
    return found


def read_by_peer(peer: str, python: Path, vocabulary: Vocabulary, texts: Texts, at_least_s: float) -> Found:
    """What a peer finds, in a process of its own."""
    script = Path(__file__).with_name("concepts_peers.py")
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        given, words, out = (Path(folder) / name for name in ("texts", "wordings", "found"))
        lines = (json.dumps({"id": key, "text": text}) for key, text in texts.items())
        given.write_text("\n".join(lines), encoding="utf-8")
        words.write_text(json.dumps(wordings(vocabulary)), encoding="utf-8")
        options = [f"--peer={peer}", f"--at-least-s={at_least_s}"]
        call = [python, "-Wignore", script, given, words, out, *options]
        run = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads)
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: frozenset(row["concepts"]) for row in rows}, json.loads(run.stdout)["seconds"]


def read_by_synthorax(vocabulary: Vocabulary, texts: Texts, at_least_s: float) -> Found:
    """What ``annotate`` finds under the policy in force, in this process."""
    annotate(next(iter(texts.values())), vocabulary)
    passes, start = 0, time.process_time()
    while not passes or time.process_time() - start < at_least_s:
        found = {key: annotate(text, vocabulary).vector.present for key, text in texts.items()}
        passes += 1
    return found, (time.process_time() - start) / passes


def macro_f1(found: dict[str, frozenset[str]], gold: pl.DataFrame, vocabulary: Vocabulary) -> str:
    """Macro-F1 over the labels with its 95 % interval; labels follow from concepts as in synthorax."""
    table = concept_columns(map(ConceptVector, found.values()), vocabulary)
    scores = label_scores(table.with_columns(study_id=pl.Series(list(found))), gold, vocabulary)
    row = scores.row(by_predicate=pl.col("label") == MACRO, named=True)
    return f"{row['f1']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gold", type=Path)
    parser.add_argument("--peers-env", type=Path, required=True, help="folder of the peers' environment")
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that makes it")
    parser.add_argument("--traps", type=Path, help="YAML of trap sentences")
    parser.add_argument("--at-least-s", type=float, default=10, help="passes are repeated until then")
    parser.add_argument("--out", type=Path, help="Markdown file that also gets the table")
    arguments = parser.parse_args()
    if (archive := shipped(ARCHIVE)) is None:
        parser.error("torchxrayvision is not installed and has the reports; install synthorax[xrv].")
    vocabulary, gold = Vocabulary.load(), pl.read_csv(arguments.gold)
    studies, _ = read_studies(archive, "openi")
    reports = dict(zip(studies["study_id"], map(usable_text, studies["report"]), strict=True))
    traps = yaml.safe_load(arguments.traps.read_text(encoding="utf-8")) if arguments.traps else []
    sentences = {str(number): usable_text(trap["text"]) for number, trap in enumerate(traps)}
    right = {str(number): set(vocabulary.ordered(trap["present"])) for number, trap in enumerate(traps)}

    python = peers_python(arguments.peers_env, arguments.peers_python)
    labellers = {f"synthorax, policy `{vocabulary.policy}`": partial(read_by_synthorax, vocabulary)}
    labellers |= {title: partial(read_by_peer, peer, python, vocabulary) for peer, title in PEERS.items()}
    columns = ("labeller", "macro-F1 [95 %]", "traps right", "reports a second", "time, synthorax = 1")
    table, own = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"], 0.0
    for title, read in labellers.items():
        found, seconds = read(reports, arguments.at_least_s)
        own = own or seconds
        told = read(sentences, 0)[0] if traps else {}
        n_right = sum(vocabulary.suppressed(ConceptVector(told[key])).present == right[key] for key in told)
        share = f"{n_right} of {len(traps)} ({n_right / len(traps):.0%})" if traps else "-"
        speeds = f"{len(reports) / seconds:,.0f} | {seconds / own:.1f}"
        table.append(f"| {title} | {macro_f1(found, gold, vocabulary)} | {share} | {speeds} |")
    table.append(
        f"\n{len(reports):,} reports on one core; vocabulary `{vocabulary.name}`; {', '.join(PINS)}."
    )
    text = "\n".join(table)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
