"""``synthorax evaluate segmentation`` and ``detection``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synthorax.classifiers.statistics import Interval

Truth = Annotated[Path, typer.Option(help="A folder made by 'studies annotations'.")]
Out = Annotated[Path, typer.Option(help="Folder for the figures.")]
Resamples = Annotated[int, typer.Option(min=1, help="Of the bootstrap by patient.")]
Seed = Annotated[int, typer.Option(help="Of the bootstrap.")]


def segmentation(
    predictions: Annotated[Path, typer.Argument(help="Folder of <image_id>.png, one an annotated film; empty = not there.")],
    annotations: Truth,
    label: Annotated[str, typer.Option(help="Whose mask was predicted.")],
    out: Out,
    least_raters: Annotated[int, typer.Option(min=1, help="Raters who must agree on a pixel.")] = 1,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """Dice of predicted masks: positive (films with the finding), negative (films without) and overall."""
    from synthorax.files import atomic
    from synthorax.quality.segmentation import dice_figures, dice_of_films

    films = dice_of_films(predictions, annotations, label, least_raters=least_raters)
    with atomic(out / "films.csv") as temporary:
        films.write_csv(temporary)
    tell(dice_figures(films, resamples, seed), out / "segmentation.json")


def detection(
    predictions: Annotated[Path, typer.Argument(help="CSV or Parquet of image_id, label, score, x_min, y_min, x_max, y_max; or COCO results (.json) with the ids of coco.json.")],
    annotations: Truth,
    out: Out,
    labels: Annotated[str | None, typer.Option(help="Labels to measure, between commas; default all that have a true box.")] = None,
    rater: Annotated[str | None, typer.Option(help="Whose boxes are the truth, where a set has several raters.")] = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:  # fmt: skip
    """mAP50 and mAR50 of predicted boxes, and each label's."""
    from synthorax.quality.detection import detection_figures, read_detections

    chosen = None if labels is None else [label.strip() for label in labels.split(",") if label.strip()]
    found = detection_figures(
        read_detections(predictions, annotations), annotations, labels=chosen, rater=rater, n_resamples=resamples, seed=seed
    )  # fmt: skip
    tell({name: figure.interval() for name, figure in found.items()}, out / "detection.json")


def tell(figures: "Mapping[str, Interval | None]", path: Path) -> None:
    """Print figures with their intervals, and write them."""
    import json
    from dataclasses import asdict

    from synthorax.files import atomic

    with atomic(path) as temporary:
        told = {name: None if found is None else asdict(found) for name, found in figures.items()}
        temporary.write_text(json.dumps(told, indent=1) + "\n")
    for name, found in figures.items():
        said = (
            "no such films"
            if found is None
            else f"{found}, {found.n_images} films of {found.n_patients} patients"
        )
        typer.echo(f"{name}: {said}")
    typer.echo(str(path))
