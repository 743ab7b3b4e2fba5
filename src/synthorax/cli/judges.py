"""``synthorax train judge`` and ``synthorax evaluate judge``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import polars as pl

    from synthorax.generation.verdict import Judge

Reports = Annotated[
    list[Path], typer.Option(help="A studies.parquet, virtual or real, or a table with study_id and report; repeat for more.")
]  # fmt: skip
#: Also an option of ``curate``.
JUDGE = "A judge's folder (train judge), the folder of a transformers language model such as MedVAL-4B, or http://... of an OpenAI-compatible server."  # fmt: skip
JudgeModel = Annotated[str | None, typer.Option(help="The judge's name at the server.")]


def train_judge(
    reports: Reports,
    out: Annotated[Path, typer.Option(help="Folder of the judge.")],
    copies: Annotated[int, typer.Option(min=1, help="Texts with planted errors a report.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the errors.")] = 0,
) -> None:
    """Teach a judge of texts by errors planted at risk 1 to 4; no physician labels. One patient in ten is left out."""
    from synthorax.concepts import Vocabulary
    from synthorax.generation.judge import Settings, train
    from synthorax.generation.judging import planted_of
    from synthorax.generation.planting import TRAINING

    settings = Settings()
    words = Vocabulary.load(settings.vocabulary)
    planted, patients = planted_of(_read(reports), words, part=TRAINING, copies=copies, seed=seed)
    judge = train(planted, settings, seed)
    judge.save(out)
    typer.echo(f"{len(planted)} texts of {len(set(patients))} patients; threshold {judge.settings.threshold}: {out}")  # fmt: skip


def evaluate_judge(
    judge: Annotated[str, typer.Argument(help=JUDGE)],
    reports: Reports,
    out: Annotated[Path, typer.Option(help="Folder for judge.csv.")],
    judge_model: JudgeModel = None,
    allow_external_endpoint: Annotated[
        str | None, typer.Option(help="HOST: a server elsewhere that the data's use agreement allows to be sent reports.", metavar="HOST")
    ] = None,
    copies: Annotated[int, typer.Option(min=1, help="Texts with planted errors a report.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the errors and the bootstrap.")] = 0,
    device: Annotated[str, typer.Option(help="torch device of a transformers judge.")] = "cpu",
) -> None:  # fmt: skip
    """F1 by category and level on held-out patients, templates and wordings, beside the gate and a constant answer."""
    from synthorax.concepts import Vocabulary
    from synthorax.files import atomic
    from synthorax.generation.judging import evaluate_judges, gate_judge, planted_of
    from synthorax.generation.planting import HELD_OUT

    words = Vocabulary.load("openchest")
    found = load_judge(judge, judge_model, allow_external_endpoint, device)
    planted, patients = planted_of(_read(reports), words, part=HELD_OUT, copies=copies, seed=seed)
    table = evaluate_judges({"judge": found, "gate": gate_judge(words)}, planted, patients, seed=seed)
    with atomic(out / "judge.csv") as temporary:
        table.write_csv(temporary)
    for row in table.iter_rows(named=True):
        typer.echo(f"{row['judge']:8} {row['figure']:26} F1 {row['f1']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f}), {row['n_planted']} planted in {row['n_texts']} texts")  # fmt: skip
    typer.echo(f"{len(planted)} texts of {len(set(patients))} patients; {out}/judge.csv")


def load_judge(name: str, model: str | None, allowed_host: str | None = None, device: str = "cpu") -> "Judge":
    """A judge by what the user calls it, see :data:`JUDGE`."""
    from synthorax.endpoint import Endpoint
    from synthorax.errors import InputError
    from synthorax.generation.judge import is_small_judge, load_small_judge
    from synthorax.generation.language_judge import judge_by_endpoint, judge_by_pipeline

    if name.startswith(("http://", "https://")):
        if model is None:
            raise InputError("the judge is a server; give its model's name by --judge-model.")
        return judge_by_endpoint(Endpoint(name, model, allowed_host))
    return load_small_judge(name) if is_small_judge(name) else judge_by_pipeline(name, device)


def _read(paths: list[Path]) -> "pl.DataFrame":
    import polars as pl

    from synthorax.concepts.reading import read_studies
    from synthorax.errors import InputError

    tables = []
    for path in paths:
        table, _ = read_studies(path)
        if "report" not in table.columns:
            raise InputError(f"{path} has no column report; expected study_id and report. Give a table with reports.")  # fmt: skip
        key = "patient_id" if "patient_id" in table.columns else "study_id"
        tables.append(table.select(pl.col(key).cast(pl.String).alias("patient_id"), "report"))
    return pl.concat(tables)
