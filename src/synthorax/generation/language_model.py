"""A language model behind an endpoint as the writer: a draft, then a second pass that corrects it."""

import difflib
from collections.abc import Sequence

from synthorax.concepts import Vocabulary
from synthorax.endpoint import Endpoint
from synthorax.generation.facts import ASSERTED, NEGATED, UNCERTAIN, Facts
from synthorax.generation.verdict import TextError

_WRITE = """You write reports of chest radiographs from structured metadata.
Answer with four lines that begin with PATIENT:, TECHNIQUE:, FINDINGS: and IMPRESSION:, and nothing else.
PATIENT: the age, sex and race that are given; leave the line out if none is. TECHNIQUE: the view, if given.
FINDINGS: one paragraph with every finding of the metadata, by its usual name.
IMPRESSION: the findings again, in brief.
Say nothing that the metadata does not hold: no side, severity, place, cause, comparison or advice of your own, and deny
only findings that are listed as absent. At most {max_words} words."""
_CORRECT = """You check a report of a chest radiograph against the metadata that it was written from.
Correct what is wrong, take out what the metadata does not hold, add what is missing; leave the rest as it is.
Keep its form. Answer with the corrected report alone, at most {max_words} words."""


def write(endpoint: Endpoint, source: Facts, vocabulary: Vocabulary, seed: int, max_words: int) -> str:
    """A first report from the metadata."""
    told = metadata_text(source, vocabulary)
    return endpoint.answer(_WRITE.format(max_words=max_words), told, seed, temperature=0.7)


def correct(
    endpoint: Endpoint,
    draft: str,
    source: Facts,
    vocabulary: Vocabulary,
    errors: Sequence[TextError],
    seed: int,
    max_words: int,
) -> str:
    """The second pass: the draft corrected against the metadata, with the gate's errors as hints."""
    hints = "\n".join(f"- {sentence_of(error)}" for error in errors) or "- none was found by rules"
    told = f"Metadata:\n{metadata_text(source, vocabulary)}\n\nReport:\n{draft}\n\nFaults that rules found:\n{hints}"
    return endpoint.answer(_CORRECT.format(max_words=max_words), told, seed)


def metadata_text(source: Facts, vocabulary: Vocabulary) -> str:
    """A row of labels as lines of 'Name: value', only what is known."""
    lines = [
        ("Age", ", ".join(f"{age} years" for age in source.ages)),
        ("Sex", ", ".join({"F": "female", "M": "male"}[sex] for sex in source.sexes)),
        ("Race", source.race or ""),
        ("View", ", ".join(sorted(source.views))),
    ]
    named = {
        ASSERTED: "Findings that are present",
        UNCERTAIN: "Findings that are uncertain",
        NEGATED: "Findings that are absent",
    }
    for state, title in named.items():
        told = [
            " ".join(filter(None, (s.severity, s.side, s.said.lower())))
            for s in source.statements
            if s.state == state and s.said not in source.others
        ]
        lines.append((title, "; ".join([*told, *(source.others if state == ASSERTED else ())])))
    return "\n".join(f"{name}: {value}" for name, value in lines if value)


def sentence_of(error: TextError) -> str:
    """An error in words: 'wrong side: "Right effusion." against "left pleural effusion"'."""
    against = f' against "{error.source}"' if error.source else ""
    said = f'"{error.said}"' if error.said else (error.concept or "").replace("_", " ")
    return f"{error.kind}: {said}{against}".strip()


def difference(draft: str, corrected: str) -> str:
    """What changed, word by word: '[-right-] {+left+}'; empty where nothing did."""
    old, new = draft.split(), corrected.split()
    parts = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            gone, come = " ".join(old[a:b]), " ".join(new[c:d])
            parts.append(" ".join(filter(None, (f"[-{gone}-]" if gone else "", f"{{+{come}+}}" if come else ""))))  # fmt: skip
    return " ".join(parts)
