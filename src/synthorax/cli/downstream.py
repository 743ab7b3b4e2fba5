"""``synthorax train detector``, ``severity`` and ``image-text``, ``predict``, ``score``, ``evaluate severity`` and ``anatomy``."""

from pathlib import Path
from typing import Annotated

import typer

Studies = Annotated[Path, typer.Argument(help="The films: a studies.parquet.")]
Split = Annotated[str | None, typer.Option(help="Films of this split of the manifest alone.")]
Out = Annotated[
    Path, typer.Option(help="Folder of the model; the same command goes on with a stopped training.")
]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the films.")]
Size = Annotated[int, typer.Option(help="Side of the network's input, px.")]
Seed = Annotated[int, typer.Option(help="Of weights and order.")]
Device = Annotated[str, typer.Option(help="torch device: cpu, cuda.")]


def train_detector(
    studies: Studies,
    annotations: Annotated[Path, typer.Option(help="Their boxes: a folder made by 'studies annotations'.")],
    labels: Annotated[str, typer.Option(help="What to find: labels of the annotations, between commas.")],
    out: Out,
    split: Split = None,
    network: Annotated[str, typer.Option(help="Of the Faster R-CNN: mobilenet or resnet50.")] = "mobilenet",
    epochs: Epochs = 10,
    size: Size = 320,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Train a Faster R-CNN that puts boxes round findings or objects."""
    from synthorax.downstream import DetectorConfig, train_detector
    from synthorax.downstream.annotated import read_marks_of

    names = _names(labels)
    marks = read_marks_of([annotations], {name: [name] for name in names})
    films = {name: place for name, place in _films(studies, split).items() if name in marks.rows}
    config = DetectorConfig(network=network, epochs=epochs, image_size_px=size, seed=seed)
    found = train_detector(config, films, marks.boxes([*films]), names, out=out, device=device)
    typer.echo(f"{out}: {len(films)} films, {found.record['n_boxes']} boxes, loss {found.record['loss_per_epoch'][-1]:.3f}")  # fmt: skip


def train_severity(
    studies: Studies,
    targets: Annotated[str, typer.Option(help="Columns of the manifest, one a rater, between commas; their mean is learned.")],
    out: Out,
    split: Split = None,
    backbone: Annotated[str, typer.Option(help="Of the classifiers: small, resnet50 ...")] = "small",
    epochs: Epochs = 20,
    size: Size = 128,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Train a network that says how much of a finding there is."""
    from synthorax.downstream import SeverityConfig, train_severity
    from synthorax.quality.severity import with_severity
    from synthorax.studies import read_manifest

    films = with_severity(read_manifest(studies), _names(targets), studies).drop_nulls("severity")
    films = films if split is None else films.filter(split=split)
    config = SeverityConfig(backbone=backbone, epochs=epochs, image_size_px=size, seed=seed)
    found = train_severity(config, films["file_name"].to_list(), films["severity"].to_numpy(), out=out, device=device)  # fmt: skip
    typer.echo(f"{out}: {films.height} films, loss {found.record['loss_per_epoch'][-1]:.3f}")


def train_image_text(
    studies: Studies,
    out: Out,
    split: Split = None,
    backbone: Annotated[str, typer.Option(help="Of the classifiers, a grey one: small, small_peaks.")] = "small_peaks",
    start: Annotated[Path | None, typer.Option(help="A classifier of that backbone and size whose features it begins with: far fewer passes.")] = None,
    epochs: Epochs = 20,
    size: Size = 192,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Train an image-text encoder on films and their reports, for 'score'; one patient in ten is held out."""
    from synthorax.classifiers import Classifier
    from synthorax.diffusion.captions import captions
    from synthorax.downstream.image_text import ImageTextConfig, train_image_text
    from synthorax.errors import InputError
    from synthorax.seeds import is_held_out
    from synthorax.studies import read_manifest

    said = captions([studies], says_who=False)
    films = _films(studies, split)
    patients = dict(read_manifest(studies).select("image_id", "patient_id").iter_rows())
    taken = [name for name in films if any(text for text, _ in said.get(name, ()))]
    parts = [[n for n in taken if is_held_out(patients[n]) == is_out] for is_out in (False, True)]
    if not all(parts):
        raise InputError(f"{studies} has {len(parts[0])} films to learn from and {len(parts[1])} held out; expected some of each, with reports.")  # fmt: skip
    config = ImageTextConfig(backbone=backbone, epochs=epochs, image_size_px=size, seed=seed)
    began = Classifier.load(start, device) if start else None
    held_out = [films[n] for n in parts[1]], [said[n][0][0] for n in parts[1]]
    found = train_image_text(config, [films[n] for n in parts[0]], [said[n] for n in parts[0]], start=began, validation=held_out, out=out, device=device)  # fmt: skip
    typer.echo(f"{out}: {len(parts[0])} films, loss {found.record['loss_per_epoch'][-1]:.3f}")


def score(
    dataset: Annotated[Path, typer.Argument(help="A dataset of edits: the folder with metadata.parquet, e.g. RUN/synthetic.")],
    encoder: Annotated[Path | None, typer.Option(help="A folder of 'train image-text', or BioViL-T's as published; default: the shipped one, for virtual patients alone.")] = None,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Score edits by whether the film changed as its text did (RadEdit, section 4.4), into score_edit of the metadata."""
    import polars as pl

    from synthorax.dataset import read_metadata
    from synthorax.downstream.image_text import load_encoder
    from synthorax.errors import InputError
    from synthorax.quality.editing_score import score_dataset
    from synthorax.stress.shifts import LEAST_SCORE

    if encoder is None and not read_metadata(dataset)["is_simulated"].all():
        raise InputError(f"{dataset} holds edits of real films; the shipped encoder knows virtual patients alone. Give --encoder.")  # fmt: skip
    found = score_dataset(dataset, load_encoder(encoder, device))
    kinds = found.group_by("perturbation_type", maintain_order=True).agg(
        mean=pl.col("score_edit").mean(), kept=(pl.col("score_edit") >= LEAST_SCORE).mean(), n=pl.len()
    )
    for kind, mean, kept, n in kinds.iter_rows():
        said = "not scored" if mean is None else f"mean {mean:.2f}, {kept:.0%} reach {LEAST_SCORE:g}"
        typer.echo(f"{kind}: {said}, {n} edits")
    odd = found.filter("source_is_odd")["image_id"].to_list()
    if odd:
        typer.echo(
            f"{len(odd)} edits have a source that its own text does not fit, {odd[0]} first (scores.csv)"
        )


def predict(
    model: Annotated[Path, typer.Argument(help="Folder of 'train segmenter', 'train detector' or 'train severity'.")],
    studies: Studies,
    out: Annotated[Path, typer.Option(help="Folder for masks/<image_id>.png, detections.parquet or severity.parquet.")],
    split: Split = None,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Masks, boxes or numbers of a downstream model, as 'evaluate segmentation', 'detection' and 'severity' take them."""
    import polars as pl

    from synthorax.dataset import write_png
    from synthorax.downstream import Detector, Segmenter, SeverityModel
    from synthorax.errors import ModelError
    from synthorax.files import atomic
    from synthorax.stress import TestedSegmenter

    films = _films(studies, split)
    if (model / "segmenter.json").is_file():
        segmenter = TestedSegmenter(str(model), Segmenter.load(model, device))
        for name, mask in zip(films, segmenter.masks([*films.values()]), strict=True):
            write_png(mask, out / "masks" / f"{name}.png")
        typer.echo(f"{len(films)} masks: {out}/masks")
        return
    if (model / "detector.json").is_file():
        table, name = Detector.load(model, device)(films), "detections"
    elif (model / "severity.json").is_file():
        numbers = SeverityModel.load(model, device)([*films.values()])
        table, name = pl.DataFrame({"image_id": [*films], "predicted": numbers.astype(float)}), "severity"
    else:
        raise ModelError(f"{model} holds no segmenter, detector or severity model; train one by 'synthorax train'.")  # fmt: skip
    with atomic(out / f"{name}.parquet") as temporary:
        table.write_parquet(temporary)
    typer.echo(f"{table.height} rows of {len(films)} films: {out}/{name}.parquet")


def evaluate_severity(
    predictions: Annotated[Path, typer.Argument(help="CSV or Parquet of image_id and predicted.")],
    studies: Annotated[Path, typer.Option(help="The manifest with the raters' numbers.")],
    targets: Annotated[str, typer.Option(help="Its columns, one a rater, between commas; their mean is the truth.")],
    out: Annotated[Path, typer.Option(help="Folder for severity.json.")],
    resamples: Annotated[int, typer.Option(min=1, help="Of the bootstrap by patient.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:  # fmt: skip
    """Mean absolute and squared error and Pearson's r of predicted severities."""
    from synthorax.cli.overlap import tell
    from synthorax.quality.severity import severity_figures

    found = severity_figures(predictions, studies, _names(targets), resamples, seed)
    tell({name: figure.interval() for name, figure in found.items()}, out / "severity.json")


def anatomy(
    dataset: Annotated[Path, typer.Argument(help="A dataset of edits: the folder with metadata.parquet, e.g. RUN/synthetic.")],
    out: Annotated[Path, typer.Option(help="Folder for films.csv and anatomy.json.")],
    lungs: Annotated[Path | None, typer.Option(help="A folder of 'train segmenter'; default: the shipped one, for virtual patients alone.")] = None,
    heart: Annotated[Path | None, typer.Option(help="The same for the heart.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Cardiothoracic ratio and lung area of edits before and after: what changed that nobody asked for."""
    from synthorax.downstream.anatomy import Segmenters, evaluate_anatomy

    table = evaluate_anatomy(dataset, out, Segmenters.load(lungs, heart, device), seed=seed)
    for row in table.iter_rows(named=True):
        said = "not measured" if row["change"] is None else f"change {row['change']:+.3f} ({row['ci_low']:+.3f} to {row['ci_high']:+.3f}), {row['within']:.0%} within the limit"  # fmt: skip
        missing = f", {row['n_not_measured']} not measured" if row["n_not_measured"] else ""
        typer.echo(f"{row['figure']}, heart {row['heart']}: {said}, {row['n']} films{missing}")


def _names(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _films(studies: Path, split: str | None) -> dict[str, str]:
    """image_id -> path."""
    from synthorax.errors import InputError
    from synthorax.studies import read_manifest

    films = read_manifest(studies)
    films = films if split is None else films.filter(split=split)
    if films.is_empty():
        raise InputError(f"{studies} has no film of the split {split!r}; look at its column 'split'.")
    return dict(films.select("image_id", "file_name").iter_rows())
