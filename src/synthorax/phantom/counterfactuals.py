"""The true counterfactual of any film of a cohort."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

from synthorax.concepts import Vocabulary
from synthorax.phantom.atlas import Atlas
from synthorax.phantom.patient import Film, FilmSource, VirtualPatient, film_source
from synthorax.phantom.processes import in_processes


def counterfactual(
    image_id: str,
    concepts: Iterable[str],
    size: int = 256,
    mode: str = "physical",
    *,
    wheel: Path | str | None = None,
    cache_dir: Path | str | None = None,
) -> Film:
    """The true film of a cohort's patient with other findings: same chest, position, devices, noise and window.

    Args:
        image_id: from any row of a cohort's tables; it names patient and take.
        concepts: what the film shall show; ``unremarkable`` stands for nothing.
        size, mode: as the cohort's.
        wheel, cache_dir: see :meth:`Atlas.load`.

    Returns:
        The film; ``.image`` and ``.masks`` by concept.

    Raises:
        InputError: not the id of a virtual patient's film, an unknown concept, a size out of range, an atlas that is
            not at hand.
    """
    source = film_source(image_id)
    vocabulary = Vocabulary.load()
    wanted = [c for c in vocabulary.ordered(concepts) if c != vocabulary.unremarkable]
    places = (str(cache_dir) if cache_dir else None, str(wheel) if wheel else None)
    return _film_of(source, *places).render(wanted, mode, size)


def counterfactual_pairs(
    asked: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    size: int = 256,
    mode: str = "physical",
    *,
    workers: int = 2,
    wheel: Path | str | None = None,
) -> Iterator[tuple[Film, Film]]:
    """:func:`counterfactual` for many films: each ``image_id`` with its concepts before and after, in order.

    Args:
        asked: image_id, concepts before, concepts after.
        size, mode: as :func:`counterfactual`.
        workers: processes.
        wheel: see :meth:`Atlas.load`.
    """
    return in_processes(partial(_pair, size, mode, wheel), asked, workers)


def _pair(
    size: int, mode: str, wheel: Path | str | None, asked: tuple[str, Sequence[str], Sequence[str]]
) -> tuple[Film, Film]:
    image_id, before, after = asked
    return (
        counterfactual(image_id, before, size, mode, wheel=wheel),
        counterfactual(image_id, after, size, mode, wheel=wheel),
    )


@lru_cache(maxsize=2)
def _patient(seed: int, site: str, atlas: str, cache_dir: str | None, wheel: str | None) -> VirtualPatient:
    return VirtualPatient(seed, Atlas.load(cache_dir, wheel, atlas), site=site)


@lru_cache(maxsize=2)
def _film_of(source: FilmSource, cache_dir: str | None, wheel: str | None) -> VirtualPatient:
    patient = _patient(source.seed, source.site, source.atlas, cache_dir, wheel)
    return patient if source.take == 0 else patient.retaken(source.take)
