"""Films with labels alone get reports, each judged by the gate: the table that ``synthorax curate`` writes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from synthorax.answers import keep, kept
from synthorax.concepts import Vocabulary
from synthorax.concepts.label_columns import LISTS
from synthorax.endpoint import Endpoint
from synthorax.errors import InputError, ModelError, SynthoraxError
from synthorax.generation.facts import Facts, facts_of_labels, facts_of_text
from synthorax.generation.gate import check_text
from synthorax.generation.language_model import correct, difference, metadata_text, write
from synthorax.generation.report_writer import MAX_WORDS, write_report
from synthorax.generation.verdict import FAILS_FROM, Judge, TextError, Verdict, both
from synthorax.seeds import derive_seed

#: Columns that judging adds; an error is a struct with MedVAL's category and level.
ERRORS = pl.List(
    pl.Struct({"kind": pl.String, "category": pl.String, "risk": pl.Int8, "concept": pl.String, "said": pl.String, "source": pl.String})
)  # fmt: skip
JUDGED = {"risk": pl.Int8, "is_passed": pl.Boolean, "errors": ERRORS}
#: Columns that writing adds; ``report`` takes the place of the manifest's.
WRITTEN = {"report": pl.String, "draft": pl.String, "diff": pl.String, "writer": pl.String, "refused": pl.String, **JUDGED}  # fmt: skip
#: A dead server refuses everything: then the command ends instead of listing every row.
ENDS_AFTER = 3


@dataclass(frozen=True)
class Written:
    """One report: the draft, its correction (the same where there was none), and the verdict on the latter."""

    draft: str
    report: str
    verdict: Verdict


def write_one(
    source: Facts,
    vocabulary: Vocabulary,
    seed: int,
    endpoint: Endpoint | None = None,
    max_words: int = MAX_WORDS,
) -> Written:
    """Write, correct and judge one report.

    Without an endpoint the template writer writes, and there is nothing to correct. With one, the second pass always
    looks at the draft; its text is taken unless the gate finds it worse than the draft.

    Raises:
        ModelError: the endpoint gives no usable answer.
    """
    if endpoint is None:
        text = write_report(source, vocabulary, seed, max_words)
        return Written(text, text, check_text(text, source, vocabulary, max_words))
    draft = write(endpoint, source, vocabulary, seed, max_words)
    first = check_text(draft, source, vocabulary, max_words)
    corrected = correct(endpoint, draft, source, vocabulary, first.errors, seed, max_words)
    second = check_text(corrected, source, vocabulary, max_words)
    if _weight(second) > _weight(first):
        return Written(draft, draft, first)
    return Written(draft, corrected, second)


def _weight(verdict: Verdict) -> tuple[int, int]:
    """The worse text has the higher risk, then more errors that count."""
    return verdict.risk, sum(error.risk >= FAILS_FROM for error in verdict.errors)


def write_reports(
    studies: pl.DataFrame,
    vocabulary: Vocabulary,
    *,
    seed: int = 0,
    endpoint: Endpoint | None = None,
    max_words: int = MAX_WORDS,
    answers: Path | None = None,
) -> pl.DataFrame:
    """Reports of a manifest's films from their labels.

    Args:
        studies: manifest rows, see :func:`~synthorax.generation.facts.facts_of_labels`. Films of one study may differ in
            view: each has its own report.
        vocabulary: says what the labels mean.
        seed: of the wordings; a film's report depends on it and the ``image_id`` alone.
        endpoint: the language model; None writes by templates.
        max_words: more words are an error.
        answers: a file that keeps a language model's reports as they come, so that a killed command goes on.

    Returns:
        The manifest with :data:`WRITTEN`. A row without labels, or that the endpoint refused, has a NULL report and
        the reason in ``refused``.

    Raises:
        ModelError: the endpoint fails on the first three rows that it is asked for.
    """
    writer = "templates" if endpoint is None else endpoint.model
    known = kept(answers)
    rows: list[dict[str, Any]] = []
    failures = successes = 0
    for row in studies.iter_rows(named=True):
        film_seed = derive_seed(seed, "report", row["image_id"])
        found: dict[str, Any] = dict.fromkeys(WRITTEN) | {"writer": writer}
        try:
            source = facts_of_labels(row, vocabulary)
            asked = (
                metadata_text(source, vocabulary),
                writer,
                endpoint and endpoint.url,
                max_words,
                film_seed,
            )
            key = str(derive_seed(*asked))
            if key in known:
                draft, report = known[key]["draft"], known[key]["report"]
                written = Written(draft, report, check_text(report, source, vocabulary, max_words))
            else:
                written = write_one(source, vocabulary, film_seed, endpoint, max_words)
                if endpoint is not None:
                    successes += 1
                    keep(answers, key, draft=written.draft, report=written.report)
            found |= {"report": written.report, "draft": written.draft, "diff": difference(written.draft, written.report), **_judged(written.verdict)}  # fmt: skip
        except SynthoraxError as error:
            failures += isinstance(error, ModelError)
            if failures >= min(ENDS_AFTER, studies.height) and not successes:
                raise
            found["refused"] = str(error)
        rows.append(found)
    added = pl.DataFrame(rows, schema=WRITTEN)
    return studies.drop([name for name in WRITTEN if name in studies.columns]).hstack(added)


def check_texts(
    texts: pl.DataFrame,
    vocabulary: Vocabulary,
    *,
    text: str = "text",
    max_words: int | None = None,
    judge: Judge | None = None,
) -> pl.DataFrame:
    """Judge a table of texts against their sources.

    Args:
        texts: a column ``text``, and ``source_report`` (a report) or label lists as in a manifest; where a row has both,
            the report is the source.
        vocabulary: reads text and source.
        text: the column with the text.
        max_words: more words are an error; None is no limit.
        judge: its errors (kind ``judged``) are added to the gate's: it can refuse a text, never pass one. It compares
            reports, so every row needs ``source_report``.

    Returns:
        The table with :data:`JUDGED`.

    Raises:
        InputError: no such columns, or a row without text or source (with its number).
        ModelError: from the judge.
    """
    has_report, has_labels = "source_report" in texts.columns, "labels_present" in texts.columns
    if text not in texts.columns or not (has_report or has_labels):
        raise InputError(
            f"the table has the columns {', '.join(texts.columns)}; expected {text!r}, and source_report or "
            "labels_present. Add the sources, or name the texts' column."
        )
    texts, rows = _typed(texts), []
    for number, row in enumerate(texts.iter_rows(named=True), start=1):
        if row[text] is None:
            raise InputError(f"row {number}: {text} is empty; expected a text. Take the row out or fill it.")
        if row.get("source_report") is not None:
            source = facts_of_text(row["source_report"], vocabulary)
        elif has_labels:
            source = facts_of_labels({"study_id": f"row {number}", **row}, vocabulary)
        else:
            raise InputError(f"row {number}: source_report is empty; expected the text's source. Fill it.")
        verdict = check_text(row[text], source, vocabulary, max_words)
        if judge is not None:
            if not source.is_report:
                raise InputError(f"row {number}: has labels but no source_report; a judge compares reports. Fill it, or leave --judge out.")  # fmt: skip
            verdict = both(verdict, judge(row[text], row["source_report"]))
        rows.append(_judged(verdict))
    judged = pl.DataFrame(rows, schema=JUDGED)
    return texts.drop([name for name in JUDGED if name in texts.columns]).hstack(judged)


def _typed(texts: pl.DataFrame) -> pl.DataFrame:
    """A CSV's cells as a manifest's: lists separated by ``|``, ages as numbers."""
    lists = [name for name in LISTS if texts.schema.get(name) == pl.String]
    split = [pl.col(name).str.split("|").list.eval(pl.element().str.strip_chars()) for name in lists]
    try:
        ages = [pl.col("age").cast(pl.Float64)] if "age" in texts.columns else []
        return texts.with_columns(*split, *ages)
    except pl.exceptions.InvalidOperationError as error:
        raise InputError(f"age is no number ({str(error).splitlines()[0]}); expected years. Correct it.") from error  # fmt: skip


def _judged(verdict: Verdict) -> dict[str, Any]:
    return {"risk": verdict.risk, "is_passed": verdict.is_passed, "errors": [_row(e) for e in verdict.errors]}


def _row(error: TextError) -> dict[str, Any]:
    return asdict(error)


def tally(judged: pl.DataFrame) -> Iterator[tuple[str, str, int]]:
    """Kind of error, MedVAL's category and the number of texts with it, the commonest first."""
    errors = judged.select(pl.col("errors").explode()).drop_nulls().unnest("errors")
    counts = errors.group_by("kind", "category").len().sort("len", "kind", descending=[True, False])
    yield from counts.iter_rows()
