"""The forms in which models were trained to be asked for a film."""

from collections.abc import Callable, Mapping

from synthorax.concepts import Vocabulary
from synthorax.diffusion.captions import SEXES, person
from synthorax.perturbations import prompt

#: One of many ways to ask RoentGen-v2 for a normal film, its demo's.
NORMAL = "Normal chest radiograph."


def film_prompt(
    form: str,
    concepts: list[str],
    vocabulary: Vocabulary,
    *,
    sides: Mapping[str, str] | None = None,
    severities: Mapping[str, str] | None = None,
    sex: str | None = None,
    age: float | None = None,
    race: str | None = None,
    view: str | None = None,
) -> str:
    """A prompt for a whole film; what is None is not said.

    Args:
        form: one of :data:`FORMS`.
        concepts: the findings; none gives a normal film.
        vocabulary: the findings' names and order.
        sides, severities: as in :func:`synthorax.perturbations.prompt`.
        sex: F or M.
        age: years.
        race: as the model's training data write it.
        view: PA or AP, which only ``synthorax`` can say.
    """
    findings = prompt(concepts, vocabulary, sides, severities)
    return FORMS[form](findings, not concepts or concepts == [vocabulary.unremarkable], sex, age, race, view)


def _own(findings: str, is_normal: bool, sex: str | None, age: float | None, race: str | None, view: str | None) -> str:  # fmt: skip
    """As the embedded model's captions: 'Female, 63 years, PA view. Left effusion.'"""
    return f"{person(sex, age, view)[0]} {findings}".strip()


def _roentgen_v2(findings: str, is_normal: bool, sex: str | None, age: float | None, race: str | None, view: str | None) -> str:  # fmt: skip
    """'{age} year old {RACE} {sex}. {impression}'."""
    who = " ".join(
        filter(
            None,
            (
                None if age is None else f"{age:.0f} year old",
                race and race.upper(),
                sex and SEXES[sex].lower(),
            ),
        )
    )
    return f"{who}. {NORMAL if is_normal else findings}" if who else (NORMAL if is_normal else findings)


def _chexgen(findings: str, is_normal: bool, sex: str | None, age: float | None, race: str | None, view: str | None) -> str:  # fmt: skip
    """'sex:Male, age:71.0, race:Black. {impression}', as its demographic checkpoint was trained."""
    who = {"sex": SEXES[sex] if sex else None, "age": None if age is None else f"{age:.1f}", "race": race}
    said = ", ".join(f"{name}:{value}" for name, value in who.items() if value)
    impression = NORMAL if is_normal else findings
    return f"{said}. {impression}" if said else impression


#: Name -> the form.
FORMS: dict[str, Callable[..., str]] = {"synthorax": _own, "roentgen-v2": _roentgen_v2, "chexgen": _chexgen}
