"""What can be asked of the engine by name: the methods, and the presets that say how many evaluations they may cost."""

from collections.abc import Mapping
from dataclasses import dataclass

from synthorax.editing.streaming import Way
from synthorax.errors import unknown_choice


@dataclass(frozen=True)
class Method:
    """What a method is made of.

    Attributes:
        path: where x^_t comes from: ``ddpm`` (independent noise at each step), ``ddim`` (the source's own way to noise),
            or None (no inversion).
        takes_masks: it knows an edit and a keep mask.
        wants_caption: the source's own caption is needed as the inversion prompt.
        source: paper and algorithm.
    """

    path: str | None
    takes_masks: bool
    wants_caption: bool
    source: str


METHODS: Mapping[str, Method] = {
    "radedit": Method("ddpm", True, False, "Perez-Garcia et al. 2023, Algorithm 3"),
    "diffedit": Method("ddpm", True, False, "Couairon et al. 2023; RadEdit's Algorithm 2"),
    "ddpm-inversion": Method("ddpm", False, False, "Huberman-Spiegelglas et al. 2023; RadEdit's Algorithm 1"),
    "ddim-inversion": Method("ddim", False, False, "Song et al. 2021; Mokady et al. 2023"),
    "lance": Method("ddim", False, True, "Prabhu et al. 2023, as RadEdit compares with it"),
    "sdedit": Method(None, False, False, "Meng et al. 2021"),
}


@dataclass(frozen=True)
class Preset:
    """How a method walks; what is None is the caller's.

    Attributes:
        most_steps: no more steps of the whole way than these.
        skip, order, unguided, reuse: see :class:`synthorax.editing.streaming.Way`.
    """

    most_steps: int | None = None
    skip: float | None = None
    order: int = 1
    unguided: float = 0.0
    reuse: int = 1

    def way(
        self, guidance_scale: float, num_inference_steps: int, skip: float, fresh_noise: float = 0.0
    ) -> Way:
        """The walk of a preset with the caller's settings."""
        return Way(
            guidance_scale,
            min(num_inference_steps, self.most_steps or num_inference_steps),
            skip if self.skip is None else self.skip,
            self.order,
            self.unguided,
            self.reuse,
            fresh_noise,
        )


#: ``exact`` is the papers' algorithm at the caller's steps. The other two were chosen on virtual patients
#: (``benchmarks/editing_validity.py``; the table is in docs/editing.md).
PRESETS: Mapping[str, Preset] = {
    "exact": Preset(),
    "balanced": Preset(most_steps=10),
    "fast": Preset(most_steps=5, skip=0.2),
}


def method_named(name: str) -> Method:
    """A method, or the sentence that names the closest."""
    if name not in METHODS:
        raise unknown_choice("method", name, METHODS)
    return METHODS[name]


def name_with(method: str, fresh_noise: float) -> str:
    """What metadata call a method: new noise is no part of any paper's, so it is said."""
    return f"{method}, fresh noise {fresh_noise:g}" if fresh_noise else method


def preset_named(name: str) -> Preset:
    """A preset, or the sentence that names the closest."""
    if name not in PRESETS:
        raise unknown_choice("preset", name, PRESETS)
    return PRESETS[name]


def evaluations(
    method: str, num_inference_steps: int, skip: float, preset: str = "exact", n_edits: int = 1
) -> int:
    """Network evaluations for ``n_edits`` edits of one source, encoding and decoding apart.

    ``K`` = steps - skipped steps. A source costs ``K`` for its inversion, shared by its edits (``2 K`` for DDIM's
    path); an edit costs ``2 K``. SDEdit inverts nothing; a mask that DiffEdit predicts costs 20 more.

    Raises:
        InputError: an unknown name, or settings out of range.
    """
    path = method_named(method).path
    of_source, of_edit = preset_named(preset).way(1.0, num_inference_steps, skip).evaluations()
    return {"ddpm": 1, "ddim": 2, None: 0}[path] * of_source + n_edits * of_edit
