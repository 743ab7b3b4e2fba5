"""Who describes a film in words: a vision-language model behind an endpoint, or in a folder on this machine."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from synthorax.endpoint import Endpoint
from synthorax.errors import ModelError
from synthorax.quality.in_context import Examples
from synthorax.studies import read_film

#: Films by path -> a report of each, in order.
Describe = Callable[[Sequence[Path]], list[str]]

#: Films in work at once: requests in flight, or a batch of the pipeline.
FILMS_AT_ONCE = 8
#: The longer side that is sent; larger films are made smaller.
LARGEST_PX = 1024
MAX_WORDS = 150
INSTRUCTION = "You are a radiologist who reports frontal chest radiographs."
QUESTION = (
    "Write the findings of this chest radiograph as a report of plain sentences. Name every abnormality that you see by its "
    f"usual name; if there is none, say that there is no acute abnormality. At most {MAX_WORDS} words, no advice."
)


def by_endpoint(endpoint: Endpoint, seed: int = 0, examples: Examples | None = None) -> Describe:
    """An OpenAI-compatible server that takes images; it gets 8-bit grey PNGs, at temperature 0.

    Examples stand before the film as turns of the conversation: the same question, and the example's report.

    Raises:
        ModelError: from the describer, see :meth:`~synthorax.endpoint.Endpoint.answer`.
    """

    def one(path: Path) -> str:
        shown = [(_uri(example.path), example.report) for example in examples.of(path)] if examples else []
        return endpoint.answer(INSTRUCTION, QUESTION, seed, images=[_uri(path)], examples=shown)

    def describe(paths: Sequence[Path]) -> list[str]:
        with ThreadPoolExecutor(FILMS_AT_ONCE) as pool:
            return list(pool.map(one, paths))

    return describe


def is_pipeline(folder: Path | str) -> bool:
    """Whether a folder holds a transformers model (timm's and this project's records look otherwise)."""
    config = Path(folder) / "config.json"
    try:
        return "model_type" in json.loads(config.read_text())
    except (OSError, ValueError):
        return False


def by_pipeline(
    folder: Path | str,
    device: str = "cpu",
    max_new_tokens: int = 2 * MAX_WORDS,
    examples: Examples | None = None,
) -> Describe:
    """A transformers model for ``image-text-to-text`` in a folder: safetensors, no code of the model's own, no sampling.

    MAIRA-2 and others that bring their own code run behind an endpoint instead.

    Raises:
        ModelError: no such folder, or transformers cannot load or run it.
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path / 'config.json'} does not exist; expected the folder of a transformers model, e.g. by `hf download "
            "OWNER/NAME --local-dir FOLDER`."
        )
    from transformers import pipeline

    try:
        made = pipeline("image-text-to-text", model=str(path), device=device, model_kwargs={"use_safetensors": True})  # fmt: skip
    except Exception as error:  # transformers raises whatever the folder leads it to
        raise ModelError(f"{path} cannot be loaded as a vision-language model ({_first(error)}).") from error

    def describe(paths: Sequence[Path]) -> list[str]:
        chats = [
            [turn for example in (examples.of(path) if examples else ()) for turn in (_asked(example.path), _answered(example.report))]
            + [_asked(path)]
            for path in paths
        ]  # fmt: skip
        try:
            found = made(text=chats, batch_size=len(chats), max_new_tokens=max_new_tokens, do_sample=False, return_full_text=False)  # fmt: skip
        except Exception as error:
            raise ModelError(f"{folder} fails on {paths[0]} ({_first(error)}).") from error
        return [answers[0]["generated_text"].strip() for answers in found]

    return describe


def _asked(path: Path) -> dict[str, object]:
    picture = {"type": "image", "image": _picture(path).convert("RGB")}
    return {"role": "user", "content": [picture, {"type": "text", "text": QUESTION}]}


def _answered(report: str) -> dict[str, object]:
    return {"role": "assistant", "content": [{"type": "text", "text": report}]}


def _uri(path: Path) -> str:
    buffer = io.BytesIO()
    _picture(path).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture(path: Path) -> Image.Image:
    image = Image.fromarray(np.rint(read_film(path).pixels * 255).astype(np.uint8))
    image.thumbnail((LARGEST_PX, LARGEST_PX), Image.Resampling.LANCZOS)
    return image


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
