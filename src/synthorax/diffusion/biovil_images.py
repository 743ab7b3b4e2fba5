"""BioViL-T, films and texts in one space, read without the code that its repository ships: for RadEdit's editing score.

Published keys of the image side (microsoft/hi-ml, hi-ml-multimodal, ``MultiImageModel``): ``encoder.encoder.*`` is
torchvision's ResNet-50 (its ``fc`` unused), ``encoder.backbone_to_vit`` takes 2,048 features to 256,
``encoder.missing_previous_emb`` stands for the earlier film that there is none of, ``projector.model.*`` goes to the common
space and the mean over places is the film's row. ``encoder.vit_pooler.*`` compares with an earlier film (dropped).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from synthorax.diffusion.biovil import load_text
from synthorax.errors import ModelError

IMAGE_WEIGHTS = "biovil_t_image_model_proj_size_128.pt"
#: The shorter side, and the square that is cut from the middle.
SIZE_PX, CROP_PX = 512, 448
AT_ONCE = 8
_BACKBONE, _DROPPED = "encoder.encoder.", ("encoder.vit_pooler.",)


class BioViLT:
    """An :class:`~synthorax.quality.editing_score.ImageTextEncoder`."""

    least_fit: float | None = None

    def __init__(self, networks: nn.ModuleDict, missing: Tensor, tokenizer: Any, device: str = "cpu") -> None:
        self.networks, self.missing = networks.to(device).eval(), missing.to(device)
        self.tokenizer, self.device = tokenizer, device

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> "BioViLT":
        """From the published folder (microsoft/BiomedVLP-BioViL-T).

        Raises:
            ModelError: another layout.
        """
        from torchvision.models import resnet50

        path = Path(folder) / IMAGE_WEIGHTS
        if not path.is_file():
            raise ModelError(f"{folder} has no {IMAGE_WEIGHTS}; expected BioViL-T's folder as published.")
        bert, tokenizer, head = load_text(Path(folder))
        published = torch.load(path, weights_only=True, map_location="cpu")
        weights = {key: value for key, value in published.items() if not key.startswith(_DROPPED)}
        missing = weights.pop("encoder.missing_previous_emb", None)
        try:
            inner, width = (
                weights["projector.model.0.weight"].shape[0],
                head["dense_to_output.weight"].shape[0],
            )
            networks = nn.ModuleDict({
                "backbone": resnet50(),
                "narrow": nn.Conv2d(2048, 256, 1, bias=False),
                "projector": nn.Sequential(nn.Conv2d(512, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, width, 1)),
                "text_head": _TextHead(bert.config.hidden_size, width),
            })  # fmt: skip
            renamed = {_renamed(key): value for key, value in weights.items()}
            networks.load_state_dict(renamed | {f"text_head.{key}": value for key, value in head.items()})
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"{path} is of another layout: {str(error).strip().splitlines()[-1].strip()}") from error  # fmt: skip
        if missing is None or missing.shape != (1, 256, 1, 1):
            raise ModelError(
                f"{path} has no encoder.missing_previous_emb (1, 256, 1, 1); is it BioViL without -T?"
            )
        networks["text"] = bert
        networks["backbone"].fc = nn.Identity()
        return cls(networks, missing, tokenizer, device)

    def images(self, films: np.ndarray) -> np.ndarray:
        """Unit rows ``(N, 128)`` float32 of films ``(N, H, W)`` in [0, 1]."""
        from torchvision.transforms.functional import center_crop, resize

        found = []
        for start in range(0, len(films), AT_ONCE):
            x = torch.from_numpy(np.asarray(films[start : start + AT_ONCE], np.float32))[:, None]
            x = center_crop(resize(x, [SIZE_PX], antialias=True), [CROP_PX]).expand(-1, 3, -1, -1)
            with torch.inference_mode():
                found.append(self._image_rows(x.to(self.device)).cpu().numpy())
        return np.concatenate(found)

    def _image_rows(self, x: Tensor) -> Tensor:
        net = self.networks["backbone"]
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        static = self.networks["narrow"](net.layer4(net.layer3(net.layer2(net.layer1(x)))))
        fused = torch.cat([static, self.missing.expand_as(static)], 1)
        return functional.normalize(self.networks["projector"](fused).mean((2, 3)), dim=1)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit rows ``(N, 128)`` float32."""
        tokens = self.tokenizer([*texts], padding=True, truncation=True, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            first = self.networks["text"](tokens.input_ids, attention_mask=tokens.attention_mask)[0][:, 0]
            return functional.normalize(self.networks["text_head"](first), dim=1).cpu().numpy()


class _TextHead(nn.Module):
    """hi-ml's ``BertProjectionHead``."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.dense_to_hidden = nn.Linear(hidden, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.dense_to_output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_to_output(self.LayerNorm(functional.gelu(self.dense_to_hidden(x))))


def _renamed(key: str) -> str:
    if key.startswith(_BACKBONE):
        return f"backbone.{key.removeprefix(_BACKBONE)}"
    return key.replace("encoder.backbone_to_vit.", "narrow.").replace("projector.model.", "projector.")
