"""Labels to a report without any model: Patient, Technique, Findings, Impression, in wording varied by a seed.

Nothing is said that the labels and the row do not hold: no side, severity, place or cause of its own, and no denial of
a finding that nobody looked for.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import yaml

from synthorax.concepts import Vocabulary, annotate
from synthorax.concepts.vocabulary_file import plural
from synthorax.generation.facts import ASSERTED, NEGATED, UNCERTAIN, Facts, Statement
from synthorax.phantom.reports import NORMAL_IMPRESSIONS
from synthorax.seeds import generator

#: ``{np}`` is the finding with its side and severity.
PRESENT = (
    "There {is_} {np}.",
    "{Np} {is_} present.",
    "{Np} {is_} seen.",
    "The film shows {np}.",
    "{Np} {is_} identified.",
)
POSSIBLE = ("Possible {bare}.", "{Np} {is_} possible.", "{Np} cannot be excluded.")
DENIED = ("No {listed}.", "There is no {listed}.", "No evidence of {listed}.")
#: Labels that the vocabulary has no wording for stand as they are.
NAMED = "Also noted: {names}."
NOTHING = "Nothing further is recorded of this film."
VIEWS = {
    "PA": ("PA chest radiograph.", "Posteroanterior view of the chest."),
    "AP": ("AP chest radiograph.", "Anteroposterior view of the chest."),
    "LATERAL": ("Lateral chest radiograph.", "Lateral view of the chest."),
    "": ("Chest radiograph.",),
}
#: About ChexGen's 120 tokens, its limit of a text.
MAX_WORDS = 80
MOST_DENIED = 5


def write_report(source: Facts, vocabulary: Vocabulary, seed: int, max_words: int = MAX_WORDS) -> str:
    """A report that says what the source says.

    Args:
        source: a row's labels, see :func:`~synthorax.generation.facts.facts_of_labels`.
        vocabulary: the one that the source was read with.
        seed: chooses wordings, and which absent findings are denied (at most five).
        max_words: denials are left out to keep to it; findings never are, so a text may be longer.

    Returns:
        Lines PATIENT (where anything is known), TECHNIQUE, FINDINGS, IMPRESSION.
    """
    for most in range(MOST_DENIED, -1, -1):
        report = _report(source, vocabulary, generator(seed, "curated"), most)
        if len(report.split()) <= max_words:
            break
    return report


def _report(source: Facts, vocabulary: Vocabulary, rng: np.random.Generator, most_denied: int) -> str:
    by_state = {
        state: [s for s in source.statements if s.state == state] for state in (ASSERTED, UNCERTAIN, NEGATED)
    }
    present = [s for s in by_state[ASSERTED] if s.concept != vocabulary.unremarkable]
    is_normal = len(present) < len(by_state[ASSERTED])
    covered = {s.said for s in present if s.said in source.others}
    findings = [_sentence(rng, _one(rng, PRESENT), s, vocabulary) for s in present if s.said not in covered]
    rng.shuffle(findings)
    findings += [_sentence(rng, _one(rng, POSSIBLE), s, vocabulary) for s in by_state[UNCERTAIN]]
    if source.others:
        findings.append(NAMED.format(names=", ".join(source.others)))
    if is_normal:
        findings.append(_one(rng, NORMAL_IMPRESSIONS))
    findings += _denials(rng, by_state[NEGATED], vocabulary, most_denied)
    impression = [_restated(rng, s, vocabulary) + "." for s in present if s.said not in covered]
    impression += [f"Possible {_restated(rng, s, vocabulary)}." for s in by_state[UNCERTAIN]]
    impression += [f"{name}." for name in source.others]
    if is_normal:
        impression.append(_one(rng, NORMAL_IMPRESSIONS))
    impression = [_capital(line) for line in impression] or [NOTHING]
    lines = [f"TECHNIQUE: {' '.join(_one(rng, VIEWS[view]) for view in sorted(source.views) or [''])}"]
    if who := _patient(rng, source):
        lines.insert(0, f"PATIENT: {who}")
    return "\n".join([*lines, f"FINDINGS: {' '.join(findings or [NOTHING])}", f"IMPRESSION: {' '.join(impression)}"])  # fmt: skip


def _patient(rng: np.random.Generator, source: Facts) -> str:
    sex = next(iter(source.sexes), None)
    age = next(iter(source.ages), None)
    race = f"{source.race} " if source.race else ""
    adult, child = {"F": ("woman", "girl"), "M": ("man", "boy"), None: ("patient", "child")}[sex]
    who = child if age is not None and age < 18 else adult
    word = {"F": "female ", "M": "male ", None: ""}[sex]
    if age is None:
        return f"{_capital(race + who)}." if sex or race else ""
    return _one(
        rng, (f"{age}-year-old {race}{who}.", f"{_capital(f'{race}{word}patient')} aged {age} years.")
    )


def _denials(
    rng: np.random.Generator, absent: Sequence[Statement], vocabulary: Vocabulary, most: int
) -> list[str]:
    if not absent or not most:
        return []
    some = [absent[i] for i in sorted(rng.permutation(len(absent))[:most])]
    nouns = [_bare(_one(rng, wordings_of(s.concept, vocabulary))) for s in some]
    listed = ", ".join(nouns[:-1]) + (" or " if len(nouns) > 1 else "") + nouns[-1]
    return [_one(rng, DENIED).format(listed=listed)]


def _sentence(rng: np.random.Generator, frame: str, statement: Statement, vocabulary: Vocabulary) -> str:
    phrase = _noun(rng, statement, vocabulary, with_article=True)
    return frame.format(
        np=phrase, Np=_capital(phrase), bare=_bare(phrase), is_="are" if _is_plural(phrase) else "is"
    )


def _noun(
    rng: np.random.Generator, statement: Statement, vocabulary: Vocabulary, with_article: bool = False
) -> str:
    """'a small left pleural effusion', 'bilateral pleural effusions', 'moderate cardiomegaly'."""
    phrase = _one(rng, wordings_of(statement.concept, vocabulary))
    bare = _bare(phrase)
    traits = " ".join(filter(None, (statement.severity, statement.side)))
    if bare == phrase or not with_article:
        return f"{traits} {bare}".strip()
    if statement.side == "bilateral":
        return f"{traits} {plural(bare)}"
    words = f"{traits} {bare}".strip()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _restated(rng: np.random.Generator, statement: Statement, vocabulary: Vocabulary) -> str:
    """The label's own name where it names the finding, with side and severity."""
    if _names(statement.said, statement.concept, vocabulary):
        return " ".join(filter(None, (statement.severity, statement.side, statement.said.lower())))
    return _noun(rng, statement, vocabulary)


@lru_cache(maxsize=1024)
def _names(label: str, concept: str, vocabulary: Vocabulary) -> bool:
    return annotate(f"{label}.", vocabulary).vector.present == {concept}


def _is_plural(phrase: str) -> bool:
    return _bare(phrase) == phrase and phrase.endswith("s") and not phrase.endswith(("sis", "ss"))


def _bare(phrase: str) -> str:
    return phrase.removeprefix("an ").removeprefix("a ")


def wordings_of(concept: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The nouns for a finding; a vocabulary without wordings gives its prompt's."""
    found = _wordings().get(concept)
    return tuple(found) if found else (vocabulary.phrase(concept).lower(),)


@cache
def _wordings() -> dict[str, list[str]]:
    return yaml.safe_load((Path(__file__).parent / "wordings.yaml").read_text(encoding="utf-8"))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
