"""Films and reports in one space: a small image-text encoder, for the editing score where BioViL-T is not at hand.

| variable | symbol | meaning |
| --- | --- | --- |
| v | E_I(x) | film, unit rows ``(B, D)`` |
| w | E_T(y) | one of its texts, unit rows |
| same | | share of each other text of the batch: films of which the same is said count as one film |
| TAU | tau | temperature, CLIP's first |

Cross-entropy of v w^T / TAU and its transpose against ``same`` (Radford et al. 2021), plus 1 - cos(v_i - v_j, w_i - w_j) of neighbours
in the batch, which is what the editing score measures. Texts are read in the embedded model's taught words, so synonyms, sides,
severities and denials are the annotator's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from synthorax.classifiers.augmentation import N_DRAWS, Augmentation, augment
from synthorax.classifiers.backbones import build_network
from synthorax.classifiers.classifier import Classifier, normalise
from synthorax.classifiers.loading import Films, load_films
from synthorax.classifiers.training import fingerprint
from synthorax.downstream.fitting import FittingConfig, fit, statistics_of
from synthorax.downstream.trained import FILMS_AT_ONCE, Trained
from synthorax.errors import InputError, ModelError
from synthorax.quality.editing_score import ImageTextEncoder
from synthorax.seeds import derive_seed, generator

TAU = 0.07
#: Share of held-out films whose own text fits worse than ``least_fit``.
ODD = 0.05


@dataclass(frozen=True)
class ImageTextConfig(FittingConfig):
    """How to train.

    Attributes:
        backbone: of :data:`~synthorax.classifiers.backbones.BACKBONES`, a grey one.
        image_size_px: side of the input.
        dimension: of the common space.
        augmentation: as for classifiers.
    """

    epochs: int = 20
    batch_size: int = 48
    learning_rate: float = 1e-3
    backbone: str = "small_peaks"
    image_size_px: int = 192
    dimension: int = 128
    augmentation: Augmentation = field(default_factory=Augmentation)


class ImageText(Trained):
    """An :class:`~synthorax.quality.editing_score.ImageTextEncoder`."""

    kind = "image_text"

    @staticmethod
    def network_of(record: Mapping[str, Any]) -> Any:
        return _network(ImageTextConfig(**{**record["config"], "augmentation": Augmentation()}))

    @classmethod
    def shipped(cls, device: str = "cpu") -> "ImageText":
        """The one that is shipped; it has seen virtual patients alone."""
        with as_file(files("synthorax.downstream") / "embedded/image_text") as folder:
            return cls.load(folder, device)

    @property
    def least_fit(self) -> float | None:
        """cos(E_I, E_T) that 95 of 100 held-out films exceed with their own text; None where none were held out."""
        return self.record["least_fit"]

    def images(self, films: Films) -> np.ndarray:
        """Unit rows ``(N, D)`` float32 of films ``(N, H, W)`` in [0, 1], or paths."""
        import torch

        pixels = load_films(films, self.size)
        found = [np.zeros((0, self.record["config"]["dimension"]), np.float32)]
        for start in range(0, len(pixels), FILMS_AT_ONCE):
            x = torch.from_numpy(pixels[start : start + FILMS_AT_ONCE]).to(self.device)
            with torch.inference_mode():
                v = _image_rows(self.network, normalise(x, self.record["mean"], self.record["std"]))
            found.append(v.float().cpu().numpy())
        return np.concatenate(found)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit rows ``(N, D)`` float32."""
        import torch

        found = [np.zeros((0, self.record["config"]["dimension"]), np.float32)]
        tokens = _tokens(texts)
        for start in range(0, len(texts), FILMS_AT_ONCE):
            with torch.inference_mode():
                w = _text_rows(self.network, tokens[start : start + FILMS_AT_ONCE].to(self.device))
            found.append(w.float().cpu().numpy())
        return np.concatenate(found)


def load_encoder(folder: Path | str | None = None, device: str = "cpu") -> ImageTextEncoder:
    """The shipped encoder, one of 'train image-text', or BioViL-T as published.

    Raises:
        ModelError: the folder holds neither.
    """
    if folder is None:
        return ImageText.shipped(device)
    if (Path(folder) / f"{ImageText.kind}.json").is_file():
        return ImageText.load(folder, device)
    from synthorax.diffusion.biovil_images import IMAGE_WEIGHTS, BioViLT

    if not (Path(folder) / IMAGE_WEIGHTS).is_file():
        raise ModelError(
            f"{folder} is no image-text encoder: neither {ImageText.kind}.json ('train image-text') nor BioViL-T's {IMAGE_WEIGHTS} is there."
        )
    return BioViLT.load(folder, device)


def train_image_text(
    config: ImageTextConfig,
    films: Films,
    said: Sequence[Sequence[tuple[str, frozenset[str]]]],
    *,
    start: Classifier | None = None,
    validation: tuple[Films, Sequence[str]] | None = None,
    out: Path | str | None = None,
    note: str = "",
    device: str = "cpu",
) -> ImageText:
    """Train on films and what may be said of each; with ``out`` a finished training is loaded, one that was stopped goes on.

    Args:
        config: how.
        films: ``(N, H, W)`` in [0, 1], or paths.
        said: of each film its texts, each with the findings that it says (:func:`synthorax.diffusion.captions.captions`).
        start: a classifier whose features the film's side begins with; it learns in far fewer passes so.
        validation: other films and a text each, for ``least_fit``.
        out: folder of checkpoint and result.
        note: what the films are, kept in the record.
        device: torch device.

    Raises:
        InputError: a film of which nothing is said, or a start of another backbone or size.
        RunError: ``out`` holds another training, or the loss is not finite.
    """
    import torch
    from torch.nn import functional

    if not len(films) or len(films) != len(said) or not all(said):
        raise InputError(f"{len(films)} films and texts of {sum(map(bool, said))}; expected at least one text a film.")  # fmt: skip
    if start is not None and (start.record.backbone, start.record.image_size_px) != (config.backbone, config.image_size_px):  # fmt: skip
        raise InputError(f"the classifier to start from is a {start.record.backbone} of {start.record.image_size_px} px; asked for is a {config.backbone} of {config.image_size_px} px.")  # fmt: skip
    pixels = load_films(films, config.image_size_px)
    flat = [one for some in said for one in some]
    began = "" if start is None else start.record.training["fingerprint"]
    identity = fingerprint(asdict(config), [began, *(text for text, _ in flat)], pixels)
    if found := ImageText.finished(out, identity, device):
        return found
    ends = np.cumsum([len(some) for some in said])
    tokens = _tokens([text for text, _ in flat])
    sets = {findings: i for i, findings in enumerate(sorted({f for _, f in flat}, key=sorted))}
    saying = torch.tensor([sets[findings] for _, findings in flat])
    network = _network(config)
    if start is None:
        mean, std = (tuple([value]) for value in statistics_of(pixels).values())
    else:
        mean, std = start.record.mean, start.record.std
        head = {id(x) for x in network["image"].get_classifier().parameters()}
        trunk = [name for name, x in network["image"].state_dict(keep_vars=True).items() if id(x) not in head]
        began_with = start.network.state_dict()
        network["image"].load_state_dict({name: began_with[name] for name in trunk}, strict=False)
    network = network.to(device, memory_format=torch.channels_last)

    def loss_of(rows: np.ndarray, epoch: int) -> torch.Tensor:
        rng = generator("image text", config.seed, epoch, int(rows[0]))
        draws = rng.uniform(-1, 1, (len(rows), N_DRAWS))
        chosen = torch.tensor([int(rng.integers(ends[row] - len(said[row]), ends[row])) for row in rows])
        x = torch.from_numpy(pixels[rows, None]).to(device).float() / 255
        v = _image_rows(network, normalise(augment(x, draws, config.augmentation), mean, std)).float()
        w = _text_rows(network, tokens[chosen].to(device)).float()
        is_same = (saying[chosen][:, None] == saying[chosen][None]).to(device)
        same = is_same / is_same.sum(1, keepdim=True)
        logits = v @ w.T / TAU
        contrast = (functional.cross_entropy(logits, same) + functional.cross_entropy(logits.T, same)) / 2
        differs = ~is_same.diagonal(1)
        direction = functional.cosine_similarity(v[1:] - v[:-1], w[1:] - w[:-1])
        return contrast + (1 - direction)[differs].sum() / max(1, len(rows) - 1)

    losses = fit(network, config, len(pixels), loss_of, "image-text encoder", out=out, identity=identity, device=device)  # fmt: skip
    record: dict[str, Any] = {
        "config": asdict(config), "mean": mean, "std": std, "n_films": len(pixels), "note": note, "loss_per_epoch": losses,
        "least_fit": None, "fingerprint": identity,
    }  # fmt: skip
    trained = ImageText(network, record, device)
    if validation is not None:
        fit_of_own = (trained.images(validation[0]) * trained.texts(validation[1])).sum(1)
        trained.record["least_fit"] = float(np.quantile(fit_of_own, ODD))
    if out is not None:
        trained.save(out)
    return trained


def _network(config: ImageTextConfig) -> Any:
    import torch
    from torch import nn

    from synthorax.diffusion.networks import UNetShape, text_encoder

    shape = UNetShape(text_width=128, text_layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("image text", config.seed))
        return nn.ModuleDict({
            "image": build_network(config.backbone, config.dimension, seed=derive_seed("image", config.seed)),
            "text": text_encoder(shape, _tokenizer()),
            "onto": nn.Linear(shape.text_width, config.dimension),
        })  # fmt: skip


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    with as_file(files("synthorax.diffusion") / "embedded/tokenizer") as folder:
        return AutoTokenizer.from_pretrained(folder)


def _tokens(texts: Sequence[str]) -> Any:
    """Ids ``(N, length)``, padded with the padding token."""
    from synthorax.diffusion.wording import in_taught_words, words_of

    words = _tokenizer()
    known = words_of(words)
    taught = [in_taught_words(text, known) for text in texts]
    return words(taught, padding="max_length", truncation=True, max_length=words.model_max_length, return_tensors="pt").input_ids  # fmt: skip


def _image_rows(network: Any, x: Any) -> Any:
    from torch.nn import functional

    return functional.normalize(network["image"](x).float(), dim=1)


def _text_rows(network: Any, tokens: Any) -> Any:
    from torch.nn import functional

    said = (tokens != network["text"].config.pad_token_id).unsqueeze(2)
    output = network["text"](tokens)[0]
    return functional.normalize(network["onto"]((output * said).sum(1) / said.sum(1)).float(), dim=1)
