"""A training that was stopped, in one file: weights, AdamW's moments and the place, so that they always belong together."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from synthorax.errors import RunError
from synthorax.files import atomic

if TYPE_CHECKING:
    import torch

CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(path: Path, network, optimizer, step: int, losses: list[float], identity: str) -> None:
    """Write the next step's number, the losses so far, and the state."""
    from safetensors.torch import save_file

    tensors = {f"network.{name}": x.detach().cpu().contiguous() for name, x in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": x.cpu().contiguous() for key, x in state.items()}
    with atomic(path) as temporary:
        state = {"step": str(step), "losses": json.dumps(losses), "fingerprint": identity}
        save_file(tensors, temporary, metadata=state)


def restore_checkpoint(path: Path | None, network, optimizer, identity: str) -> tuple[int, list[float]]:
    """Load a checkpoint where there is one; returns the next step and the losses so far."""
    if path is None or not path.is_file():
        return 0, []
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["fingerprint"] != identity:
            raise RunError(
                f"{path} belongs to a training with other settings, labels or films. Choose another folder, "
                "or remove the file to start anew."
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): x for k, x in tensors.items() if k.startswith(prefix)})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, x in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = x
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["step"]), json.loads(metadata["losses"])
