"""``synthorax concepts``: what reports say, and what a cohort never shows together."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Reports to concepts, and the map of what is missing.")

VocabularyOption = Annotated[
    str, typer.Option(help="A shipped vocabulary (corpa) or the path of a YAML file.", metavar="V")
]
PolicyOption = Annotated[
    str,
    typer.Option(
        help="What counts as present: strict (asserted), inclusive (also uncertain), corpa.", metavar="P"
    ),
]
FormatOption = Annotated[
    str | None, typer.Option(help="Read a published set: openi, mimic-cxr, nih, chexpert, folder, ...")
]


@app.callback()
def concepts() -> None:
    """Reports to concepts, and the map of what is missing."""


@app.command()
def annotate(
    studies: Annotated[
        Path,
        typer.Argument(help="A manifest, a table with study_id and report, or a set's folder with --format."),
    ],
    out: Annotated[Path, typer.Option(help="The concept table to write, e.g. concepts.parquet.")],
    format: FormatOption = None,
    vocabulary: VocabularyOption = "corpa",
    policy: PolicyOption = "strict",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")] = None,
    annotator: Annotated[
        Path | None, typer.Option(help="Read with SRR-BERT in this transformers folder instead of by rules; give --vocabulary srr.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where a row was rejected.")] = False,
) -> None:  # fmt: skip
    """Write a 0/1/NULL column for every concept and label of every film, with the evidence spans."""
    from synthorax.concepts.reading import find_studies, read_studies
    from synthorax.concepts.streaming import annotate_to
    from synthorax.files import atomic

    if annotator is None:
        found, rejected = find_studies(studies, format)
        outcome = annotate_to(found, out, vocabulary, policy, workers=workers)
    else:
        from synthorax.concepts import Vocabulary, annotate_studies, write_concepts
        from synthorax.concepts.srr_bert import srr_bert
        from synthorax.concepts.studies_table import Outcome

        words = Vocabulary.load(vocabulary, policy)
        frame, rejected = read_studies(studies, format)
        table = annotate_studies(frame, words, annotator=srr_bert(annotator, words))
        write_concepts(table, out, words, vocabulary)
        outcome = Outcome.of(table)
    typer.echo(f"{outcome.n_rows} films: {out}")
    typer.echo(outcome.sentence())
    if rejected.height:
        listed = out.with_name(f"{out.stem}.rejected.csv")
        with atomic(listed) as temporary:
            rejected.write_csv(temporary)
        typer.echo(f"{rejected.height} rejected: {listed}; the first: {rejected['reason'][0]}")
        if strict:
            raise typer.Exit(1)


@app.command()
def structure(
    studies: Annotated[
        Path,
        typer.Argument(help="A manifest, a table with study_id and report, or a set's folder with --format."),
    ],
    out: Annotated[
        Path, typer.Option(help="The table to write, e.g. structured.parquet: study_id, structured.")
    ],
    format: FormatOption = None,
) -> None:
    """Put each report's sentences under sections and headings of organs; no word is changed."""
    import polars as pl

    from synthorax.concepts.reading import read_studies
    from synthorax.concepts.structured import OTHER
    from synthorax.concepts.structured import structure as structured
    from synthorax.files import atomic

    frame, _ = read_studies(studies, format)
    found = [structured(report) for report in frame["report"]]
    table = frame.select("study_id", "report").with_columns(
        pl.Series("structured", [one.text() or None for one in found], dtype=pl.String)
    )
    with atomic(out) as temporary:
        table.write_parquet(temporary)
    n = sum(len(some) for one in found for some in one.findings.values())
    others = sum(len(one.findings.get(OTHER, ())) for one in found)
    typer.echo(f"{table.height} reports, {n} sentences of findings, {others} under no organ: {out}")


@app.command()
def show(
    study: Annotated[
        str | None, typer.Argument(help="A study_id; without it the report is read from standard input.")
    ] = None,
    studies: Annotated[
        Path | None, typer.Option(help="The manifest (or set, with --format) to find it in.")
    ] = None,
    format: FormatOption = None,
    vocabulary: VocabularyOption = "corpa",
    policy: PolicyOption = "strict",
) -> None:
    """Print a report with its findings coloured: asserted red, uncertain yellow, negated green, past blue."""
    from rich.console import Console

    from synthorax.concepts import Vocabulary
    from synthorax.concepts.annotator import annotate
    from synthorax.concepts.showing import coloured, lines_of

    words = Vocabulary.load(vocabulary, policy)
    report = sys.stdin.read() if study is None else _report_of(study, studies, format)
    annotation = annotate(report, words)
    Console(soft_wrap=True, highlight=False).print(coloured(report, annotation))
    typer.echo()
    for line in lines_of(annotation, words):
        typer.echo(line)


def _report_of(study: str, studies: Path | None, format: str | None) -> str:
    import polars as pl

    from synthorax.concepts.reading import read_studies
    from synthorax.errors import InputError

    if studies is None:
        raise InputError(
            f"study {study!r} needs --studies, the manifest it is in; or give its text on standard input."
        )
    frame, _ = read_studies(studies, format)
    found = frame.filter(pl.col("study_id") == study)
    if found.is_empty():
        raise InputError(f"{studies} has no study_id {study!r}; the first is {frame['study_id'].first()!r}.")
    if (report := found["report"][0]) is None:
        raise InputError(f"study {study!r} of {studies} has no report; only its labels are known.")
    return report


@app.command()
def coverage(
    concepts: Annotated[Path, typer.Argument(help="A concept table made by 'concepts annotate'.")],
    out: Annotated[Path, typer.Option(help="Folder for coverage.parquet and coverage.html.")],
    studies: Annotated[
        Path | None, typer.Option(help="The manifest: adds rates by source, view, sex and age.")
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(help="Another vocabulary than the one that the table was made with.", metavar="V"),
    ] = None,
    order: Annotated[int, typer.Option(help="Largest combinations: 1 singles, 2 pairs, 3 triples.")] = 3,
    rare_below: Annotated[int, typer.Option(help="Fewer films than this is rare.")] = 10,
    note: Annotated[str, typer.Option(help="A sentence for the head of the page.")] = "",
    with_reports: Annotated[
        bool,
        typer.Option("--with-reports", help="Link gaps to example reports: the page then holds their text."),
    ] = False,
) -> None:
    """Rank what never or rarely occurs together, clinically possible combinations only, as table and page."""
    import polars as pl

    from synthorax.concepts import read_concepts
    from synthorax.coverage import conflicts, coverage_by_group, gaps, whole_vectors, write_page
    from synthorax.coverage import coverage as cover
    from synthorax.files import atomic
    from synthorax.studies import read_manifest

    table, words = read_concepts(concepts, vocabulary)
    covered = cover(table, words, order, rare_below)
    manifest = None if studies is None else read_manifest(studies)
    groups = None if manifest is None else coverage_by_group(table, manifest, words, order)
    tables = {
        "coverage.parquet": covered,
        "vectors.parquet": whole_vectors(table, words),
        "conflicts.parquet": conflicts(table, words),
        "coverage_by_group.parquet": groups,
    }
    reports = {}
    if manifest is not None and with_reports:
        kept = manifest.filter(pl.col("report").is_not_null())
        reports = dict(zip(kept["study_id"], kept["report"], strict=True))
    for name, frame in tables.items():
        if frame is None:
            continue
        with atomic(out / name) as temporary:
            frame.write_parquet(temporary)
    write_page(covered, words, out / "coverage.html", table, groups=groups, reports=reports, note=note)
    found = gaps(covered)
    never = int((found["status"] == "never").sum())
    typer.echo(f"{table.height} films, {covered['is_valid'].sum()} combinations that can occur")
    typer.echo(f"{never} never seen, {found.height - never} rare: {out / 'coverage.html'}")
    for row in found.head(5).iter_rows(named=True):
        typer.echo(
            f"  {' + '.join(row['combination'])}: {row['count']} films, {row['expected']:.1f} expected"
        )
