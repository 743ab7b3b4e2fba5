"""Mutated inputs to every reader: each must be read or refused with a sentence, none may crash or take 5 s.

python benchmarks/fuzz.py 10000

The seeds are pydicom's own test files and files made here: DICOM, PNG, JPEG, reports, manifests, plans, metadata, YAML,
run folders. A mutation flips, cuts, repeats, blanks or inserts bytes; each depends on its number alone.
"""

import collections
import faulthandler
import io
import json
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from synthorax.concepts import Vocabulary, annotate
from synthorax.dataset import metadata_frame, read_metadata, write_metadata
from synthorax.errors import SynthoraxError
from synthorax.perturbations import PLAN
from synthorax.runs.checking import status
from synthorax.runs.folder import RunFolder, read_config
from synthorax.runs.plan_edits import read_plan, read_prompts
from synthorax.seeds import generator
from synthorax.studies import read_film, read_manifest, write_manifest

LIMIT_S = 5
#: Larger seeds are left out: what they add is time.
LARGEST = 300_000

Reader = Callable[[Path], object]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One or two changes of the bytes; one in ten is cut short."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(0, max(len(found), 1)))
        size = int(min(2 ** rng.integers(0, 8), 512))
        match rng.integers(0, 5):
            case 0:
                found[at : at + 1] = bytes([int(rng.integers(0, 256))])
            case 1:
                found[at : at + size] = b""
            case 2:
                found[at:at] = found[at : at + size]
            case 3:
                found[at : at + size] = bytes([int(rng.choice([0, 255]))]) * size
            case 4:
                found[at:at] = rng.bytes(size)
    return bytes(found[: int(rng.integers(0, len(found) + 1))] if rng.random() < 0.1 else found)


def radiograph():
    """A 12-bit film with what a film's header holds."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3.4"
    ds.Modality, ds.ViewPosition, ds.PatientOrientation = "DX", "PA", ["L", "F"]
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PixelRepresentation = "MONOCHROME1", 1, 0
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 24, 20, 16, 12, 11
    ds.WindowCenter, ds.WindowWidth, ds.RescaleSlope, ds.RescaleIntercept = 2048, 1024, 1, 0
    ds.PixelSpacing, ds.PixelPaddingValue = [0.2, 0.2], 0
    ds.PixelData = generator("radiograph").integers(0, 4096, (24, 20), dtype=np.uint16).tobytes()
    return ds


def seeds(folder: Path) -> Iterator[tuple[str, bytes, Reader]]:
    """Name, bytes and reader of each unharmed input."""
    import pydicom.data

    for file in sorted((Path(pydicom.data.__file__).parent / "test_files").rglob("*.dcm")):
        if file.stat().st_size <= LARGEST:
            yield f"dicom/{file.name}", file.read_bytes(), read_film
    buffer = io.BytesIO()
    radiograph().save_as(buffer, enforce_file_format=True)
    for copy in range(
        30
    ):  # half of the DICOM inputs: pydicom's own are mostly of other modalities, hence refused at once
        yield f"dicom/radiograph{copy}.dcm", buffer.getvalue(), read_film
    pixels = generator("fuzz").integers(0, 255, (48, 40), dtype=np.uint8)
    for suffix, form in ((".png", "PNG"), (".jpg", "JPEG")):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, form)
        yield f"{form.lower()}/film{suffix}", buffer.getvalue(), read_film
    report = "FINDINGS: 1. No pneumothorax, small left effusion.\nIMPRESSION: Cardiomegaly; without mass."
    words = Vocabulary.load()
    yield "report/report.txt", report.encode(), lambda path: annotate(path.read_text(errors="replace"), words)
    yield "prompts/prompts.txt", b"Left effusion.\nEnlarged heart.\n", read_prompts
    rows = {"study_id": ["s"], "patient_id": ["p"], "image_id": ["i"], "file_name": ["i.png"], "report": [report], "source": ["folder"]}  # fmt: skip
    manifest = write_manifest(pl.DataFrame(rows), folder / "studies.parquet")
    yield "manifest/studies.parquet", manifest.read_bytes(), read_manifest
    frame = metadata_frame(
        [{"file_name": "a.png", "image_id": "a", "seed": 1, "labels_after": ["Pneumonia"]}]
    )
    metadata = write_metadata(frame, folder)
    yield "metadata/metadata.parquet", metadata.read_bytes(), lambda path: read_metadata(path.parent)
    plan = pl.DataFrame([{"edit_id": "e", "prompt": "Left effusion.", "seed": 1}]).select(
        pl.col(name).cast(dtype) if name in ("edit_id", "prompt", "seed") else pl.lit(None, dtype).alias(name)
        for name, dtype in PLAN.items()
    )
    plan.write_parquet(folder / "plan.parquet")
    yield "plan/plan.parquet", (folder / "plan.parquet").read_bytes(), read_plan
    yield "prompts/prompts.csv", b"prompt,seed\nLeft effusion.,1\n", read_prompts
    for name in ("corpa", "chexpert"):
        file = Path(sys.modules["synthorax.concepts"].__file__).parent / "vocabularies" / f"{name}.yaml"
        yield f"yaml/{name}.yaml", file.read_bytes(), Vocabulary.load
    run = RunFolder.open(folder / "run", {"kind": "stub"})
    run.ledger.plan("films", ["a", "b"])
    run.ledger.enter("films", {"a": {"seed": 1}}, {"a": ("synthetic/a.png", "0" * 64)})
    run.close()
    yield (
        "config/config.json",
        (folder / "run" / "config.json").read_bytes(),
        lambda path: read_config(path.parent),
    )

    def ledger(path: Path) -> object:
        (path.parent / "config.json").write_text(json.dumps({"kind": "stub"}))
        return status(path.parent)

    yield "ledger/ledger.sqlite", (folder / "run" / "ledger.sqlite").read_bytes(), ledger


def verdict(path: Path, reader: Reader) -> str:
    """``read``, ``refused``, or the traceback of a crash."""
    try:
        reader(path)
    except SynthoraxError as error:
        return "refused" if str(error).strip() else "refused without a sentence"
    except BaseException:  # polars panics are no Exceptions
        return traceback.format_exc(limit=-3)
    return "read"


def fuzz(n: int, show: Callable[[str], None] = print) -> tuple[collections.Counter, list[str]]:
    """``n`` mutated inputs; counts by (kind, verdict) and what went wrong."""
    counts: collections.Counter = collections.Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = list(seeds(Path(place)))
        for name, data, reader in inputs:
            path = Path(place) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            said = verdict(path, reader)
            if said != "read" and not (said == "refused" and name.startswith("dicom/")):
                raise SystemExit(f"unharmed {name}: {said}")
        kinds = sorted({name.split("/")[0] for name, _, _ in inputs})
        for number in range(n):
            rng = generator("fuzz", number)
            kind = kinds[number % len(kinds)] if number % 2 else "dicom"
            some = [entry for entry in inputs if entry[0].startswith(kind + "/")]
            name, data, reader = some[int(rng.integers(len(some)))]
            folder = Path(place) / f"{number}"
            folder.mkdir()
            path = folder / name.split("/")[1]
            path.write_bytes(mutated(data, rng))
            faulthandler.dump_traceback_later(60, exit=True)
            began = time.monotonic()
            said = verdict(path, reader)
            seconds = time.monotonic() - began
            faulthandler.cancel_dump_traceback_later()
            if seconds > LIMIT_S:
                wrong.append(f"{number} {name}: {seconds:.1f} s")
            if said in ("read", "refused"):
                counts[kind, said] += 1
            else:
                counts[kind, "crashed"] += 1
                wrong.append(f"{number} {name}: {said}")
                show(wrong[-1])
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    return counts, wrong


if __name__ == "__main__":
    counts, wrong = fuzz(int(sys.argv[1]))
    print("| input | read | refused with a sentence | crashed |\n| --- | ---: | ---: | ---: |")
    for kind in sorted({kind for kind, _ in counts}):
        print(
            f"| {kind} | "
            + " | ".join(str(counts[kind, said]) for said in ("read", "refused", "crashed"))
            + " |"
        )
    print(f"{sum(counts.values())} inputs, {len(wrong)} crashed or took over {LIMIT_S} s")
    raise SystemExit(bool(wrong))
