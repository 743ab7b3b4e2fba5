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
from synthorax.stress.concept_attack import Attack
from synthorax.stress.corruptions import STRENGTHS, CorruptionTest, corrupt
from synthorax.stress.measuring import StressTest, points
from synthorax.stress.population import PopulationTest, Stressed, edits_of
from synthorax.stress.scan import Scan
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


def write_scan_page(
    scan: Scan, stressed: Mapping[str, tuple[Path, pl.DataFrame]], folder: Path | str
) -> Path:
    """Write ``scan.html``: the findings in the order of their falls, and the first edit of each beside its sham."""
    examples = {}
    for found in scan.rows:
        place, frame = stressed[found.name]
        row = frame.filter("is_valid", perturbation_type=found.name).row(0, named=True)
        source, edited, sham = (read_film(path).pixels for path in (row["source_file_name"], place / row["file_name"], place / f"sham/{row['source_image_id']}.png"))  # fmt: skip
        examples[found.prompt] = [*_compared(source, edited), ("sham (nothing asked for)", data_uri(sham))]
    rows = [{"words": [row.prompt], "before": row.sham, "after": row.edited, "change": row.change, "p_adjusted": row.p_adjusted, "falls": row.falls} for row in scan.rows]  # fmt: skip
    page = _template("falls.html").render(
        title="Stress test: scan over findings and devices", model=scan.model, films=f"{len(rows)} shifts", is_simulated=scan.is_simulated,
        finding=scan.proposal, head=["what the edits show"], before="shams", after="edits", rows=rows, examples=examples,
        note="The films are negative for the tested finding and stay so; a model that answers yes has taken one thing for another. A fall holds two things, the model's and the editor's: this proposes and gives no verdict.",
        points=points, percent=percent, version=__version__,
    )  # fmt: skip
    return _written(page, Path(folder) / "scan.html")


def write_attack_page(attack: Attack, edits: pl.DataFrame, dataset: Path, folder: Path | str) -> Path:
    """Write ``attack.html``: labels by type of perturbation, and the first edit of each type."""
    ordered = sorted(attack.rows, key=lambda row: row.change.estimate)
    examples = {}
    for kind in dict.fromkeys(row.perturbation_type for row in ordered):
        known = [
            pl.col(name).is_not_null() for name in ("source_file_name", "concepts_before", "concepts_after")
        ]
        row = edits.filter(pl.col("is_valid").fill_null(True), *known, perturbation_type=kind).row(
            0, named=True
        )
        source, edited = (read_film(dataset / row[name]).pixels for name in ("source_file_name", "file_name"))
        before, after = (", ".join(row[name]) or "nothing" for name in ("concepts_before", "concepts_after"))
        examples[f"{kind}: {before} → {after}".replace("_", " ")] = _compared(source, edited)
    falling = sum(row.falls for row in ordered)
    rows = [{"words": [row.perturbation_type.replace("_", " "), row.label], "before": row.before, "after": row.attacked, "change": row.change, "p_adjusted": row.p_adjusted, "falls": row.falls} for row in ordered]  # fmt: skip
    page = _template("falls.html").render(
        title="CoRPA's attack", model=attack.model, films=f"{attack.n_films} edits", is_simulated=attack.is_simulated,
        finding=f"{falling} of {len(rows)} labels and types fall (Holm, 0.05 over all of them).", head=["perturbation", "label"],
        before="shams" if attack.has_shams else "sources", after="edits", rows=rows, examples=examples,
        note="Each film is read against its own labels at the label's threshold. " + (
            "Shams go through the editor with nothing asked for; whether an edit shows what was asked is not seen, so these are figures and no verdict."
            if attack.has_shams
            else "What falls is model and editor together: there is no sham here, so these are figures and no verdict."
        ),
        points=points, percent=percent, version=__version__,
    )  # fmt: skip
    return _written(page, Path(folder) / "attack.html")


def _compared(source: np.ndarray, edited: np.ndarray) -> list[tuple[str, str]]:
    shown = {
        "source": source,
        "edit (synthetic)": edited,
        "edit minus source": difference_map(edited, source),
    }
    return [(caption, data_uri(picture)) for caption, picture in shown.items()]


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
