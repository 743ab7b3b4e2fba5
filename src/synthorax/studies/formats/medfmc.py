"""MedFMC's ChestDR (Wang et al. 2023): nineteen labels, all asked of every film. The set has no severity scores.

Layouts: ``chestdr_published_19d.csv`` (``img_id`` and a column a label), or the challenge's lists, a line a film, ``<film>
<nineteen 0 or 1, by commas>``: ``trainval.txt`` and ``test_WithLabel.txt``, and for few-shot ``chest_<N>-shot_train_exp<E>.txt``,
which is read alone where ``--table`` names it (openmedlab/MedFM, README and ``Chest19``). Films lie in ``images/``.
"""

from pathlib import Path

import polars as pl

from synthorax.errors import InputError
from synthorax.studies.source import Source, label_lists, placing, raw_frame, require_folder
from synthorax.studies.tables import find_table, read_table, require_columns

LABELS = (
    "pleural_effusion",
    "nodule",
    "pneumonia",
    "cardiomegaly",
    "hilar_enlargement",
    "fracture_old",
    "fibrosis",
    "aortic_calcification",
    "tortuous_aorta",
    "thickened_pleura",
    "TB",
    "pneumothorax",
    "emphysema",
    "atelectasis",
    "calcification",
    "pulmonary_edema",
    "increased_lung_markings",
    "elevated_diaphragm",
    "consolidation",
)
TABLE = "chestdr_published_19d.csv"
LISTS = {"trainval.txt": "train", "test_WithLabel.txt": "test"}
FOLDERS = ("images", "chest/images", "MedFMC_train/chest/images", "MedFMC_val/chest/images", ".")
NOTE = "no patients are named: each film counts as a patient of its own."


def read_source(path: Path, table: Path | str | None = None) -> Source:
    """One row a film; the lists' splits are train and test."""
    root = require_folder(path, "MedFMC's ChestDR")
    if table is not None:
        tables = [Path(table)]
    else:
        published = find_table(root, (TABLE, f"*/{TABLE}"))
        tables = [published] if published else [root / name for name in LISTS if (root / name).is_file()]
    if not tables:
        raise InputError(
            f"{root} has no {TABLE}, trainval.txt or test_WithLabel.txt; expected MedFMC's chest folder as published."
        )
    return Source(pl.concat([_rows(each, root) for each in tables]), (NOTE,))


def _rows(table: Path, root: Path) -> pl.DataFrame:
    frame = _list(table) if table.suffix == ".txt" else read_table(table)
    require_columns(frame, ("img_id", *LABELS), table)
    lists = label_lists(frame, {label: label for label in LABELS})
    names = frame["img_id"].fill_null("")
    stems = [Path(name).stem for name in names]
    place = placing(root)
    films = [place(FOLDERS, name) for name in names]
    rows = frame.select(
        pl.Series("study_id", stems),
        pl.Series("patient_id", stems),
        pl.Series("image_id", stems),
        pl.Series("file_name", films),
        *(expression.alias(name) for name, expression in lists.items()),
    ).with_columns(pl.lit(LISTS.get(table.name), dtype=pl.String).alias("split"))
    return raw_frame(rows, "medfmc", table.name)


def _list(table: Path) -> pl.DataFrame:
    """A list of the challenge as the table it stands for."""
    try:
        lines = [line.split() for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{table} cannot be read ({error.strerror}); correct the path.") from error
    rows = []
    for number, words in enumerate(lines, 1):
        cells = words[-1].split(",")
        if len(words) != 2 or len(cells) != len(LABELS):
            raise InputError(
                f"{table} line {number} is {' '.join(words)[:60]!r}; expected a film's name, a blank, and {len(LABELS)} "
                "values of 0 or 1 between commas. Use the list as published."
            )
        rows.append([words[0], *cells])
    return pl.DataFrame(rows, schema=["img_id", *LABELS], orient="row")
