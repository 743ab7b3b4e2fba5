"""``synthorax cohort`` and ``synthorax curate``: films to order as prompts, and texts for films that have labels alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthorax.cli.judges import JUDGE, JudgeModel, load_judge

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(no_args_is_help=True, help="Reports from labels, and texts checked against their sources.")

VocabularyOption = Annotated[
    str, typer.Option(help="A shipped vocabulary or a YAML file, with label_columns.", metavar="V")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 where a text did not pass.")]


@app.callback()
def curate() -> None:
    """Reports from labels, and texts checked against their sources."""


def cohort(
    spec: Annotated[Path, typer.Argument(help="YAML: how many films of which findings, sex, age, race, view, severity.")],
    out: Annotated[Path, typer.Option(help="The table of prompts for 'synthorax generate', e.g. cohort.parquet.")],
    seed: Annotated[int, typer.Option(help="Draws ages, and films that cannot be shared out evenly.")] = 0,
) -> None:  # fmt: skip
    """Turn a cohort's specification into prompts, balanced over all that it lists."""
    from synthorax.errors import InputError
    from synthorax.files import atomic
    from synthorax.generation import cohort_table, read_cohort

    if out.suffix != ".parquet":
        raise InputError(f"{out} is no place for a cohort: expected a name that ends in .parquet. Rename it.")
    table = cohort_table(read_cohort(spec), seed)
    with atomic(out) as temporary:
        table.write_parquet(temporary)
    typer.echo(f"{table.height} prompts in {table['group'].n_unique()} groups: {out}")
    for text in table["prompt"].unique(maintain_order=True).head(3):
        typer.echo(f"  {text}")


@app.command()
def write(
    studies: Annotated[Path, typer.Argument(help="A manifest with label columns, from 'studies import'.")],
    out: Annotated[Path, typer.Option(help="The manifest with reports to write, e.g. curated.parquet.")],
    vocabulary: VocabularyOption = "openchest",
    endpoint: Annotated[
        str | None,
        typer.Option(help="An OpenAI-compatible server on this machine, e.g. http://127.0.0.1:8000/v1; without it, templates write."),
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="The model's name at the endpoint.")] = None,
    allow_external_endpoint: Annotated[
        str | None,
        typer.Option(help="HOST: a server elsewhere that the data's use agreement allows to be asked.", metavar="HOST"),
    ] = None,
    max_words: Annotated[int, typer.Option(min=10, help="Longest report, in words.")] = 80,
    seed: Annotated[int, typer.Option(help="Of the wordings.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many films.")] = None,
    strict: Strict = False,
) -> None:  # fmt: skip
    """Write a report of each film from its labels, correct it, and judge it against them.

    The manifest that comes out keeps every row: its report, the draft, what the second pass changed, the errors that are
    left with their risk (1 to 4), and whether it passed.
    """
    from synthorax.concepts import Vocabulary
    from synthorax.errors import InputError
    from synthorax.generation import Endpoint, write_reports
    from synthorax.studies import read_manifest, write_manifest

    if (endpoint is None) != (endpoint_model is None):
        raise InputError(
            "--endpoint and --endpoint-model belong together: the server and its model's name. Give both."
        )
    server = None if endpoint is None else Endpoint(endpoint, endpoint_model or "", allow_external_endpoint)
    frame = read_manifest(studies)
    words = Vocabulary.load(vocabulary)
    answers = out.with_name(f"{out.stem}.answers.jsonl") if server else None
    written = write_reports(
        frame.head(limit) if limit else frame,
        words,
        seed=seed,
        endpoint=server,
        max_words=max_words,
        answers=answers,
    )
    write_manifest(written, out)
    refused = written.filter(written["refused"].is_not_null())
    if refused.height:
        typer.echo(f"{refused.height} without a report; the first: {refused['refused'][0]}")
    _tell(written, out, strict)


@app.command()
def check(
    texts: Annotated[
        Path,
        typer.Argument(help="A table with a column of texts and their sources: source_report, or label columns."),
    ],
    out: Annotated[Path, typer.Option(help="The table with the verdicts to write, a .parquet.")],
    text: Annotated[str, typer.Option(help="The column with the texts.")] = "text",
    vocabulary: VocabularyOption = "openchest",
    max_words: Annotated[int | None, typer.Option(min=1, help="More words are an error.")] = None,
    judge: Annotated[str | None, typer.Option(help=f"Also ask a judge, which can refuse a text and never pass one: {JUDGE}")] = None,
    judge_model: JudgeModel = None,
    allow_external_endpoint: Annotated[
        str | None,
        typer.Option(help="HOST: a server elsewhere that the data's use agreement allows to be sent reports.", metavar="HOST"),
    ] = None,
    strict: Strict = False,
) -> None:  # fmt: skip
    """Judge texts against their sources: each error with its category and its risk from 1 to 4."""
    from synthorax.concepts import Vocabulary
    from synthorax.files import atomic
    from synthorax.generation import check_texts
    from synthorax.studies.tables import read_table

    asked = None if judge is None else load_judge(judge, judge_model, allow_external_endpoint)
    judged = check_texts(read_table(texts), Vocabulary.load(vocabulary), text=text, max_words=max_words, judge=asked)  # fmt: skip
    with atomic(out) as temporary:
        judged.write_parquet(temporary)
    _tell(judged, out, strict)


def _tell(judged: "pl.DataFrame", out: Path, strict: bool) -> None:
    """Counts that add up, and what the errors are."""
    from synthorax.generation.curation import tally

    passed = int(judged["is_passed"].fill_null(False).sum())
    typer.echo(f"{judged.height} texts = {passed} passed + {judged.height - passed} not: {out}")
    for kind, category, count in tally(judged):
        typer.echo(f"  {count:>6} {kind} ({category})")
    if strict and passed < judged.height:
        raise typer.Exit(1)
