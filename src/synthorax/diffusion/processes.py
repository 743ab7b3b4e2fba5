"""The processes of one training: each draws every batch and takes its own rows of it, and the first one writes.

A launcher starts them (``accelerate launch``, ``torchrun``); a process that nobody launched is the first of one.
"""

import os
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from synthorax.errors import InputError, unknown_choice

DEVICES = ("auto", "cpu", "cuda")

#: How long the others wait for the one that reads films, encodes them, draws previews.
PATIENCE = timedelta(days=1)


def join(device: str, batch_size: int) -> torch.device:
    """Join the other processes, where a launcher started some; returns the device of this one.

    Args:
        device: ``auto`` (a GPU where there is one and the launcher allows it), ``cpu`` or ``cuda``.
        batch_size: rows of a batch, over all processes.

    Raises:
        InputError: no such device, more processes than GPUs, or rows that cannot be shared out equally.
    """
    if device not in DEVICES:
        raise unknown_choice("device", device, DEVICES)
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device is cuda, but no GPU answers; `synthorax doctor` says why. Or give --device cpu."
        )
    if device == "auto":
        may_use_gpu = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
        device = "cuda" if may_use_gpu else "cpu"
    n_here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if device == "cuda" and n_here > torch.cuda.device_count():
        raise InputError(
            f"{n_here} processes were started on a machine with {torch.cuda.device_count()} GPUs; start one a GPU."
        )
    state = PartialState(cpu=device == "cpu", timeout=PATIENCE)
    if batch_size % state.num_processes:
        raise InputError(
            f"batch_size is {batch_size}, which {state.num_processes} processes cannot share equally; "
            f"make it a multiple of {state.num_processes}."
        )
    return torch.device("cuda", state.local_process_index) if device == "cuda" else torch.device("cpu")


def own_rows(count: int) -> slice:
    """This process's rows of a batch of ``count``."""
    state = PartialState()
    share = count // state.num_processes
    return slice(state.process_index * share, (state.process_index + 1) * share)
