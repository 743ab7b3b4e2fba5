"""A trained network with its record, in a folder: what all models of this room share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from synthorax.classifiers.checkpoints import CHECKPOINT
from synthorax.errors import ModelError, RunError
from synthorax.files import atomic

#: Films in a network at a time, when it is asked.
FILMS_AT_ONCE = 16


class Trained:
    """A network and its record; the folder holds ``<kind>.safetensors`` and, written last, ``<kind>.json``."""

    kind: ClassVar[str]

    def __init__(self, network: Any, record: Mapping[str, Any], device: str = "cpu") -> None:
        self.network, self.record, self.device = network.to(device).eval(), dict(record), device

    @staticmethod
    def network_of(record: Mapping[str, Any]) -> Any:
        """The network that a record describes, weights not yet read."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Side of the input, pixels."""
        return self.record["config"]["image_size_px"]

    def save(self, folder: Path | str) -> None:
        """Write network and record, and remove the training's checkpoint."""
        from safetensors.torch import save_file

        with atomic(Path(folder) / f"{self.kind}.safetensors") as temporary:
            save_file({name: x.contiguous() for name, x in self.network.state_dict().items()}, temporary)
        with atomic(Path(folder) / f"{self.kind}.json") as temporary:
            temporary.write_text(json.dumps(self.record, indent=1) + "\n")
        (Path(folder) / CHECKPOINT).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> Self:
        """Raises ModelError where the folder holds none."""
        from safetensors.torch import load_file

        path = Path(folder)
        if not (path / f"{cls.kind}.json").is_file():
            raise ModelError(
                f"{path} holds no {cls.kind}: {cls.kind}.json is missing. Train one by 'synthorax train {cls.kind}'."
            )
        try:
            record = json.loads((path / f"{cls.kind}.json").read_text())
            network = cls.network_of(record)
            network.load_state_dict(load_file(path / f"{cls.kind}.safetensors"))
        except ModelError:
            raise
        except Exception as error:  # json, safetensors and torch raise whatever the folder leads them to
            said = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            raise ModelError(f"{path} cannot be loaded ({said}).") from error
        return cls(network, record, device)

    @classmethod
    def finished(cls, folder: Path | str | None, fingerprint: str, device: str) -> Self | None:
        """The finished model of a folder, None where there is none.

        Raises:
            RunError: it was trained with other settings or films.
        """
        if folder is None or not (Path(folder) / f"{cls.kind}.json").is_file():
            return None
        found = cls.load(folder, device)
        if found.record["fingerprint"] != fingerprint:
            raise RunError(
                f"{folder} holds a {cls.kind} model trained with other settings or films. Choose another folder, or remove it."
            )
        return found
