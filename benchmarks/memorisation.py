"""Does the embedded model give its training films away? 1,000 films drawn from the captions of real films that taught it.

    python benchmarks/memorisation.py NIH --out runs/memorisation [--n 1000]

The captions are those of the training, each with the words for a real film before it: whoever fears copies asks so. A film
counts as near if it lies nearer to a training film than one in a hundred of the real films that the model never saw (one
patient in ten), by pixels and by the features of a small classifier of the same set. The same command resumes. Writes what
``synthorax evaluate samples`` writes, to ``quality``: ``nearest_run.csv`` and ``nearest_run.png`` list the nearest films.
"""

import argparse
from pathlib import Path

import polars as pl

from synthorax.cli import run
from synthorax.diffusion.captions import REAL, captions
from synthorax.seeds import generator, is_held_out
from synthorax.studies import read_manifest


def prompts(studies: pl.DataFrame, manifest: Path, n: int) -> pl.DataFrame:
    """``n`` captions of training films."""
    said, patients = captions([manifest]), dict(studies.select("image_id", "patient_id").iter_rows())
    known = [name for name in said if not is_held_out(patients[name]) and any(text for text, _ in said[name])]
    rng, rows = generator("memorisation"), []
    for k in range(n):
        texts = [text for text, _ in said[known[int(rng.integers(len(known)))]] if text]
        rows.append({"prompt": f"{REAL} {texts[int(rng.integers(len(texts)))]}", "study_id": f"s{k:04d}"})
    return pl.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nih", help="folder of ChestX-ray14 films with Data_Entry.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    def call(*words: object) -> None:
        if code := run([str(word) for word in words]):
            raise SystemExit(code)

    nih, concepts, reader = out / "nih.parquet", out / "concepts.parquet", out / "reader"
    call("studies", "import", arguments.nih, "--format", "nih", "--out", nih)
    call("concepts", "annotate", nih, "--out", concepts)
    studies = read_manifest(nih)
    is_training = pl.Series([not is_held_out(patient) for patient in studies["patient_id"]])
    studies.filter(is_training).write_parquet(out / "train.parquet")
    prompts(studies, nih, arguments.n).write_csv(out / "prompts.csv")
    (out / "reader.yaml").write_text("epochs: 12\n")
    call(
        "train", "classifier", out / "reader.yaml", "--studies", nih, "--concepts", concepts, "--out", reader
    )
    call(
        "generate", out / "prompts.csv", "--out", out / "run", "--guidance-scale", 2, "--num-inference-steps", arguments.steps,
        "--sampler", "dpm-solver",
    )  # fmt: skip
    call(
        "evaluate", "samples", out / "run" / "synthetic", "--real", nih, "--trained-on", out / "train.parquet", "--extractor", reader,
        "--out", out / "quality",
    )  # fmt: skip


if __name__ == "__main__":
    main()
