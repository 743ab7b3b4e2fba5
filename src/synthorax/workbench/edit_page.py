"""The Edit page: a film, painted masks, a prompt; the edit as it comes; kept with its provenance."""

import base64
import binascii
import io
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, Field

from synthorax import __version__
from synthorax.concepts import ConceptVector
from synthorax.dataset import read_png, write_png
from synthorax.errors import InputError, SynthoraxError
from synthorax.workbench.opened_run import OpenedRun
from synthorax.workbench.templates_of import page

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel

router = APIRouter(prefix="/edit")
METHOD, N_REMEMBERED, PER_PAGE = "radedit", 8, 36


class Wanted(BaseModel):
    """An edit to make. Masks are PNGs as data addresses, of the film's size; above half grey is inside."""

    row: Annotated[int, Field(ge=0, le=10**9)]
    prompt: Annotated[str, Field(min_length=1, max_length=500)]
    concepts: Annotated[list[str], Field(max_length=30)] = []
    edit_mask: Annotated[str, Field(max_length=8_000_000)] = ""
    keep_mask: Annotated[str, Field(max_length=8_000_000)] = ""
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0


@dataclass
class Job:
    """An edit under way or done; ``draft`` is the film as the model sees it so far, ``notes`` what became of thin masks."""

    wanted: Wanted
    masks: dict[str, np.ndarray | None]
    fraction: float = 0.0
    drafts: int = 0
    draft: np.ndarray | None = None
    edited: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    kept_as: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Watched:
    """A model that tells of every call; whoever edits with it sees the model itself."""

    def __init__(self, model: "DiffusionModel", tell: Callable[[Any, Any, Any], None]) -> None:
        self._model, self._tell = model, tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict_noise(self, x_t: Any, t: Any, embeddings: Any) -> Any:
        epsilon = self._model.predict_noise(x_t, t, embeddings)
        self._tell(x_t, t, epsilon)
        return epsilon


class Edits:
    """One edit at a time, in a thread of its own; the last few are remembered until they are kept."""

    def __init__(self, run: OpenedRun, model: str | None) -> None:
        self.run, self._model_name = run, model
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._busy = threading.Lock()
        self._model: DiffusionModel | None = None

    def start(self, wanted: Wanted) -> str:
        """Check the edit, start it, and return its number.

        Raises:
            InputError: the film, the masks or the concepts cannot be used, or an edit is under way.
        """
        film = read_png(self.run.film(wanted.row, "source"))
        if unknown := [name for name in wanted.concepts if name not in self.run.vocabulary.concepts]:
            raise InputError(f"concept {unknown[0]!r} is not in the vocabulary; take one from the list.")
        masks = {name: _mask(getattr(wanted, name), film.shape, name) for name in ("edit_mask", "keep_mask")}
        if not self._busy.acquire(blocking=False):
            raise InputError("An edit is under way; wait until it is done.")
        number, job = secrets.token_hex(6), Job(wanted, masks)
        self._jobs[number] = job
        while len(self._jobs) > N_REMEMBERED:
            self._jobs.popitem(last=False)
        threading.Thread(target=self._make, args=(job, film), daemon=True).start()
        return number

    def job(self, number: str) -> Job:
        if number not in self._jobs:
            raise HTTPException(404, "This edit is not remembered any more.")
        return self._jobs[number]

    def _make(self, job: Job, film: np.ndarray) -> None:
        from synthorax.editing import edit_film, evaluations

        try:
            model = self._loaded()
            settings = model.edit_settings
            rows, total = 0, evaluations(METHOD, settings["num_inference_steps"], settings["skip"])

            def tell(x_t: Any, t: Any, epsilon: Any) -> None:
                nonlocal rows
                rows += len(x_t)
                job.fraction = min(0.99, rows / total)
                if len(x_t) == 3:  # the source, and prompt and negative prompt of the edit
                    guided = epsilon[2:] + settings["guidance_scale"] * (epsilon[1:2] - epsilon[2:])
                    abar = model.alphas_cumprod[t.reshape(-1)[:1].cpu()].to(x_t).reshape(1, 1, 1, 1)
                    x0 = (x_t[2:] - (1 - abar).sqrt() * guided) / abar.sqrt()
                    job.draft = model.decode(x0)[0].cpu().numpy()
                    job.drafts += 1

            def note(_: int, sentence: str) -> None:
                for name in ("edit_mask", "keep_mask"):
                    sentence = sentence.replace(f"{name}s[0]", f"The {name.replace('_', ' ')}")
                job.notes.append(sentence)

            before = self.run.row(job.wanted.row)
            job.edited = edit_film(
                film,
                job.wanted.prompt,
                job.masks["edit_mask"],
                job.masks["keep_mask"],
                model=_Watched(model, tell),  # type: ignore[arg-type]
                seed=job.wanted.seed,
                is_simulated=bool(before["is_simulated"]),
                method=METHOD,
                report=note,
            )
            job.fraction = 1.0
        except SynthoraxError as error:
            job.error = str(error)
        except Exception as error:
            job.error = f"The edit failed: {error}"
            logging.getLogger(__name__).exception("an edit of row %d failed", job.wanted.row)
        finally:
            self._busy.release()

    def _loaded(self) -> "DiffusionModel":
        if self._model is None:
            from synthorax.diffusion import load_model

            self._model = load_model(self._model_name)
        return self._model

    def keep(self, number: str) -> int:
        """Write the edit, its masks and its provenance into the dataset; returns its row. A second call adds nothing."""
        job = self.job(number)
        with job.lock:
            if job.kept_as is not None:
                return job.kept_as
            if job.edited is None:
                raise InputError("This edit is not done; wait for it before keeping it.")
            model, run, wanted = self._loaded(), self.run, job.wanted
            before = run.row(wanted.row)
            domain = model.domain(bool(before["is_simulated"]))
            sent = f"{domain} {wanted.prompt}".strip()
            names = {"file_name": f"workbench/{number}.png"}
            write_png(job.edited, run.synthetic / names["file_name"], Synthetic="YES", Prompt=sent)
            for kind, mask in job.masks.items():
                if mask is not None:
                    names[f"{kind}_file_name"] = f"workbench/masks/{number}_{kind}.png"
                    write_png(mask, run.synthetic / names[f"{kind}_file_name"])
            chosen = run.vocabulary.ordered(wanted.concepts)
            copied = (
                "study_id",
                "patient_id",
                "source_image_id",
                "source_file_name",
                "concepts_before",
                "is_simulated",
            )
            job.kept_as = run.add({
                **{name: before[name] for name in copied}, **names,
                "image_id": f"workbench-{number}",
                "concepts_after": chosen,
                "concepts_unknown": [] if chosen else list(run.vocabulary.concepts),
                "labels_after": list(run.vocabulary.true_labels(ConceptVector(frozenset(chosen)))) if chosen else [],
                "perturbation_type": "manual",
                "prompt": sent, "inversion_prompt": domain, "negative_prompt": domain,
                "seed": wanted.seed, "method": METHOD, **model.edit_settings,
                "model_id": model.model_id, "model_revision": model.model_revision, "model_sha256": model.model_sha256,
                "n_tries": 1, "is_synthetic": True, "software_version": __version__,
            })  # fmt: skip
            return job.kept_as


def _mask(address: str, shape: tuple[int, ...], name: str) -> np.ndarray | None:
    """A painted mask, None where none was sent."""
    if not address:
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"), validate=True)), formats=["PNG"]) as image:  # fmt: skip
            if image.size != (shape[1], shape[0]):
                raise InputError(
                    f"{name} is {image.size[0]} x {image.size[1]}; expected the film's {shape[1]} x {shape[0]}."
                )
            mask = np.asarray(image.convert("L")) > 127
    except (binascii.Error, UnidentifiedImageError, ValueError, OSError, SyntaxError) as error:
        raise InputError(f"{name} is no PNG; paint it on the page, or send one as a data address.") from error
    if not mask.any():
        raise InputError(f"{name} has no pixel inside; paint it wider, or clear the masks.")
    return mask


@router.get("", response_class=HTMLResponse)
def edit_page(request: Request, row: Annotated[int | None, Query(ge=0, le=10**9)] = None, page_number: Annotated[int, Query(alias="page", ge=1, le=10**6)] = 1) -> Response:  # fmt: skip
    """Choose a source film, or edit the one of a row."""
    run: OpenedRun = request.app.state.run
    if row is None:
        sources = run.frame.filter(run.frame["source_file_name"].is_not_null()).unique("source_file_name", keep="first", maintain_order=True)  # fmt: skip
        n_pages = max(1, -(-sources.height // PER_PAGE))
        number = min(page_number, n_pages)
        here = sources.slice((number - 1) * PER_PAGE, PER_PAGE).to_dicts()
        return page(request, "sources.html", sources=here, number=number, n_pages=n_pages, n=sources.height)
    film = run.row(row)
    with Image.open(run.film(row, "source")) as image:
        width, height = image.size
    vocabulary = run.vocabulary
    picker = [
        (
            label,
            [(c, vocabulary.phrase(c), vocabulary.by_name[c].sided) for c in vocabulary.concepts_of(label)],
        )
        for label in vocabulary.labels
    ]
    return page(request, "edit.html", film=film, width=width, height=height, picker=picker)


@router.post("/jobs")
def start(request: Request, wanted: Wanted) -> dict[str, str]:
    """Start an edit."""
    return {"job": request.app.state.edits.start(wanted)}


@router.get("/jobs/{job}")
def state(request: Request, job: str) -> dict[str, Any]:
    """How far an edit is."""
    found = request.app.state.edits.job(job)
    return {
        "fraction": found.fraction,
        "drafts": found.drafts,
        "notes": found.notes,
        "is_done": found.edited is not None,
        "error": found.error,
    }


@router.get("/jobs/{job}/film.png", response_class=Response)
def film(request: Request, job: str) -> Response:
    """The edit, or its latest draft."""
    found = request.app.state.edits.job(job)
    image = found.edited if found.edited is not None else found.draft
    if image is None:
        raise HTTPException(404, "There is no draft yet.")
    written = io.BytesIO()
    Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)).save(
        written, format="PNG", compress_level=1
    )
    return Response(written.getvalue(), media_type="image/png", headers={"cache-control": "no-store"})


@router.post("/jobs/{job}/keep")
def keep(request: Request, job: str) -> dict[str, int]:
    """Keep an edit in the run's dataset."""
    return {"row": request.app.state.edits.keep(job)}
