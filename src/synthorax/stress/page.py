"""The verdict on one page: figures, controls, the first edits. Everything is inside, so it can be mailed and kept."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from synthorax import __version__
from synthorax.classifiers.statistics import Interval
from synthorax.dataset import read_png
from synthorax.files import atomic
from synthorax.quality.pictures import data_uri, difference_map, outlined
from synthorax.stress.corruptions import STRENGTHS, CorruptionTest, corrupt
from synthorax.stress.measuring import StressTest, points
from synthorax.stress.population import PopulationTest, Stressed, edits_of
from synthorax.stress.segmenters import TestedSegmenter
from synthorax.studies import read_film

N_SHOWN = 6
SAID = {
    "real": "real test films",
    "source": "sources, unedited",
    "edited": "edited films",
    "sham": "sham edits (the finding stays)",
    "blur": "blurred instead of edited (right = the shift)",
}

N_LUNGS_SHOWN = 3
SAID_OF_LUNGS = {
    "source": "unedited",
    "edited": "edited",
    "sham": "sham edits (no abnormality)",
    "blur": "blurred instead of edited",
}


def write_page(test: StressTest, stressed: pl.DataFrame, folder: Path | str) -> Path:
    """Write ``verdict.html`` beside a stressed set.

    Args:
        test: from :func:`~synthorax.stress.measuring.measure`.
        stressed: the set's metadata.
        folder: of the set.
    """
    folder = Path(folder)
    rows = stressed.filter("is_valid", ~pl.col("perturbation_type").is_in(["sham", "blur"])).head(N_SHOWN)
    page = _template("verdict.html").render(
        test=test, said=SAID, points=points, percent=percent, edit=rows.row(0, named=True),
        examples=[list(_pictures(row, folder)) for row in rows.iter_rows(named=True)], version=__version__,
    )  # fmt: skip
    return _written(page, folder / "verdict.html")


def write_corruptions_page(test: CorruptionTest, table: pl.DataFrame, folder: Path | str) -> Path:
    """Write ``corruptions.html``; the first film of the table shows what each corruption does."""
    film = read_film(table["file_name"][0]).pixels
    kinds = dict.fromkeys(row.kind for row in test.rows)
    pictures = {
        kind: [data_uri(corrupt(film, kind, strength, seed="page")) for strength in STRENGTHS]
        for kind in kinds
    }
    page = _template("corruptions.html").render(
        test=test, kinds={kind: [row for row in test.rows if row.kind == kind] for kind in kinds},
        pictures=pictures, points=points, percent=percent, version=__version__,
    )  # fmt: skip
    return _written(page, Path(folder) / "corruptions.html")


def write_population_page(
    test: PopulationTest, stressed: Mapping[str, Stressed], tested: TestedSegmenter, folder: Path | str
) -> Path:
    """Write ``population.html``: the first edits of each abnormality with the lungs that the segmenter finds in them."""
    examples, prompts = {}, {}
    for name, sets in stressed.items():
        rows = list(edits_of(sets).head(N_LUNGS_SHOWN).iter_rows(named=True))
        found = {arm: tested.masks([row[arm] for row in rows]) for arm in ("source", "edited")}
        examples[name] = [
            [
                (said, data_uri(outlined(read_film(row[arm]).pixels, mask)))
                for arm, said, mask in (
                    ("source", "source, lungs found", found["source"][i]),
                    ("edited", "edit (synthetic), lungs found", found["edited"][i]),
                )
            ]
            + [(arm, data_uri(read_png(row[arm]))) for arm in ("edited", "sham", "blur")]
            for i, row in enumerate(rows)
        ]
        asked = [frame.row(0, named=True)["prompt"] for _, frame in sets.values()]
        prompts[name] = " / ".join(asked)
    page = _template("population.html").render(
        test=test, said=SAID_OF_LUNGS, points=points, percent=percent, px=_px, examples=examples, prompts=prompts,
        version=__version__,
    )  # fmt: skip
    return _written(page, Path(folder) / "population.html")


def percent(figure: Interval) -> str:
    """An accuracy in %, with its interval."""
    return f"{100 * figure.estimate:.1f} ({100 * figure.ci_low:.1f} to {100 * figure.ci_high:.1f})"


def _px(figure: Interval) -> str:
    return f"{figure.estimate:.1f} ({figure.ci_low:.1f} to {figure.ci_high:.1f})"


def _pictures(row: dict[str, Any], folder: Path) -> Iterable[tuple[str, str]]:
    source = read_film(row["source_file_name"]).pixels
    edited, sham, blur = (
        read_png(folder / f"{arm}/{row['source_image_id']}.png") for arm in ("edited", "sham", "blur")
    )
    first: np.ndarray = source
    if row["edit_mask_file_name"]:
        first = outlined(source, read_png(folder / row["edit_mask_file_name"]))
    shown = {"source, edit mask": first, "edit (synthetic)": edited, "edit minus source": difference_map(edited, source), "sham": sham, "blur": blur}  # fmt: skip
    for caption, picture in shown.items():
        yield caption, data_uri(picture)


def _template(name: str) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("synthorax.stress")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template(name)


def _written(page: str, path: Path) -> Path:
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
