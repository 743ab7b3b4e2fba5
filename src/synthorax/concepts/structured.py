"""Free text to a structured report: sections, and the findings under headings of organs (SRRG, arXiv 2505.24223).

SRRG asks a language model to write the report anew; here no word is changed. Each sentence is put under the first heading
that one of its words stands for (``organs.yaml``), and the impression is numbered.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from synthorax.concepts.sections import IMPRESSION, usable_sentences

OTHER = "Other"
_NUMBER = re.compile(r"^\s*(?:\d{1,2}[.)](?=\s)|[-*])\s*")


@dataclass(frozen=True)
class Structured:
    """A report in order.

    Attributes:
        findings: heading -> its sentences, headings in SRRG's order; a heading without any is left out.
        impression: its sentences.
    """

    findings: Mapping[str, tuple[str, ...]]
    impression: tuple[str, ...]

    def text(self) -> str:
        """Findings with a heading a paragraph and a line a sentence; the impression numbered."""
        lines = ["FINDINGS:"] if self.findings else []
        for heading, sentences in self.findings.items():
            lines += [heading, *(f"- {said}" for said in sentences)]
        if self.impression:
            lines += ["IMPRESSION:", *(f"{i}. {said}" for i, said in enumerate(self.impression, start=1))]
        return "\n".join(lines)


def structure(report: str | None) -> Structured:
    """Put a report's sentences under their headings; one without usable text has none."""
    found: dict[str, list[str]] = {heading: [] for heading in (*headings(), OTHER)}
    impression: list[str] = []
    for name, match in usable_sentences(report) if report else ():
        said = " ".join(_NUMBER.sub("", match[0]).split())
        if re.search(r"[A-Za-z]{2}", said):
            (impression if name == IMPRESSION else found[organ_of(said)]).append(said)
    return Structured({name: tuple(some) for name, some in found.items() if some}, tuple(impression))


def organ_of(sentence: str) -> str:
    """The heading of a sentence; ``Other`` where no word tells."""
    return next((name for name, words in _patterns().items() if words.search(sentence)), OTHER)


@cache
def headings() -> tuple[str, ...]:
    """SRRG's headings, in a report's order."""
    order = (
        "Lungs and Airways",
        "Pleura",
        "Cardiovascular",
        "Hila and Mediastinum",
        "Tubes, Catheters, and Support Devices",
    )
    return (*order, *(name for name in _patterns() if name not in order))


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    words = yaml.safe_load((Path(__file__).parent / "organs.yaml").read_text(encoding="utf-8"))
    return {
        name: re.compile(
            rf"\b(?:{'|'.join(re.escape(w).replace(re.escape('*'), '[a-z]*') for w in some)})\b", re.I
        )
        for name, some in words.items()
    }
