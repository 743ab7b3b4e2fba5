"""What readers are asked: the protocols of CARS (Section 2) and ChexGen (subjective evaluation), and two on pairs."""

from collections.abc import Mapping
from dataclasses import dataclass

from synthorax.errors import InputError, unknown_choice


@dataclass(frozen=True)
class Question:
    """One choice to make: ``choices`` are value -> wording, in the order of their keys 1, 2, 3, ..."""

    name: str
    text: str
    choices: Mapping[str, str]


@dataclass(frozen=True)
class Protocol:
    """A kind of study.

    Attributes:
        instruction: stands above every case.
        questions: all must be answered.
        is_pair: a case is two films, else one.
        shows: the text under the films: ``concepts``, ``prompt`` or nothing.
        reals: whether unchanged source films are among the cases.
        comment: wording of the free text; a comment may always stay empty.
    """

    title: str
    instruction: str
    questions: tuple[Question, ...]
    is_pair: bool = False
    shows: str | None = None
    reals: bool = False
    comment: str = "Why? (what looks wrong, or what is missing)"

    def checked(self, answer: Mapping[str, str]) -> dict[str, str]:
        """The answers to this protocol's questions, in order.

        Raises:
            InputError: a question without an answer, or a value that is no choice.
        """
        for question in self.questions:
            if question.name not in answer:
                raise InputError(f"'{question.text}' has no answer; choose one before going on.")
            if answer[question.name] not in question.choices:
                raise unknown_choice(
                    f"the answer to '{question.text}'", answer[question.name], question.choices
                )
        return {question.name: answer[question.name] for question in self.questions}


_SIDES = {"a": "Film A", "b": "Film B"}

PROTOCOLS = {
    "cars": Protocol(
        title="Realism and findings",
        instruction="Judge the film as you would at work, then the proposed findings.",
        questions=(
            Question("realism", "Is this film real or synthetic?", {"real": "Real", "synthetic": "Synthetic"}),
            Question(
                "concepts",
                "Do you agree with the proposed findings?",
                {"full": "Fully agree", "partial": "Partially agree", "disagree": "Disagree"},
            ),
        ),
        shows="concepts",
        reals=True,
    ),
    "chexgen": Protocol(
        title="Match of film and text",
        instruction="How well does the film show what the text says?",
        questions=(
            Question(
                "match",
                "Film and text",
                {
                    "-2": "Complete mismatch",
                    "-1": "Missing key findings",
                    "0": "Major findings, but missing details",
                    "1": "Good alignment",
                    "2": "Perfect correspondence",
                },
            ),
        ),
        shows="prompt",
    ),
    "preference": Protocol(
        title="Preference",
        instruction="Both films are of one patient and mean to show the same findings.",
        questions=(Question("preferred", "Which film shows them better?", _SIDES),),
        is_pair=True,
        shows="concepts",
    ),
    "2afc": Protocol(
        title="Find the synthetic film",
        instruction="One of the two films was made or changed by a generative model.",
        questions=(Question("synthetic", "Which one?", _SIDES),),
        is_pair=True,
        reals=True,
    ),
}  # fmt: skip

#: What an analyst may find in free text, after CARS's 'Expert Evaluation'; a study's list can be added to.
FAILURE_MODES = (
    "implausible ribs",
    "clavicles",
    "heart contour",
    "lung texture",
    "too clean",
    "unsupported finding",
    "missing hallmark sign",
    "borderline",
)


def protocol(name: str) -> Protocol:
    """A protocol by name, or the error with the closest match."""
    if name not in PROTOCOLS:
        raise unknown_choice("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
