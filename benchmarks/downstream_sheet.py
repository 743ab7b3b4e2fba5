"""A sheet of what ``chexgen-small`` trained on: python benchmarks/downstream_sheet.py RUN --out sheet.jpg

RUN is a folder of ``recipes run chexgen-small``. Rows: training films with a pneumothorax or fluid. Columns: the virtual
patient's film, its visible findings (white), the mask as it was turned, scaled and moved, the film made with that mask, and a
film made by the same patient's prompt alone. All simulated.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from synthorax.dataset import read_png

N_ROWS, SIZE = 6, 192


def tile(film: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray((film * 255).astype(np.uint8)).resize((SIZE, SIZE)))


def masks_of(folder: Path, pattern: str) -> np.ndarray:
    return np.max([read_png(path) for path in sorted(folder.glob(pattern))], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    inputs = arguments.run / "inputs"
    annotated, prompted = (
        pl.read_parquet(inputs / which / "synthetic" / "metadata.parquet").filter(pl.col("study_id").str.ends_with("~0"))
        for which in ("annotated", "prompted")
    )  # fmt: skip
    by_prompt = dict(prompted.select("study_id", "file_name").iter_rows())
    rows = []
    for row in annotated.iter_rows(named=True):
        shown = {*row["concepts_after"]} & {"absent_lung_markings", "effusion", "meniscus_sign"}
        if not shown or len(row["concepts_after"]) > 1 or len(rows) == N_ROWS:
            continue
        image_id, name = row["study_id"].removesuffix("~0"), Path(row["file_name"]).stem
        synthetic = inputs / "annotated" / "synthetic"
        rows.append([
            read_png(inputs / "internal" / "images" / f"{image_id}.png"),
            masks_of(inputs / "internal" / "masks", f"{image_id}__findings.png"),
            masks_of(synthetic / "masks", f"{name}__*.png"),
            read_png(synthetic / row["file_name"]),
            read_png(inputs / "prompted" / "synthetic" / by_prompt[row["study_id"]]),
        ])  # fmt: skip
    sheet = np.concatenate([np.concatenate([tile(film) for film in row], axis=1) for row in rows])
    Image.fromarray(sheet).save(arguments.out, quality=85)


if __name__ == "__main__":
    main()
