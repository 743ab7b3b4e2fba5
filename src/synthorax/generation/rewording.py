"""A report in other words: what a careful writer may change without changing what is said.

The patterns come in two parts, so that what is trained on one part can be tested on wordings of the other.
"""

import re
from collections.abc import Sequence
from functools import partial

import numpy as np

#: Ways to say the same: words, then the build of sentences.
SAME = tuple(
    (re.compile(pattern, re.I), other)
    for pattern, other in (
        (r"\bThere is no\b", "No"), (r"\bNo evidence of\b", "There is no evidence of"), (r"\bare identified\b", "are seen"),
        (r"\bis identified\b", "is seen"), (r"\b(right|left)-sided\b", r"\1"), (r"\bcardiomegaly\b", "enlargement of the heart"),
        (r"\bwithin normal limits\b", "normal"), (r"\bpleural effusion\b", "effusion"), (r"\bradiograph\b", "film"),
        (r"\bcardiopulmonary abnormality\b", "cardiopulmonary process"), (r"\bthe lungs are clear\b", "Both lungs are clear"),
        (r"\binfiltrate\b", "opacity"), (r"\bairspace disease\b", "airspace opacity"), (r"\bis present\b", "is noted"),
        (r"\bis noted\b", "is seen"), (r"\bunremarkable\b", "normal"), (r"\bscarring\b", "scar"), (r"\bthoracic spine\b", "dorsal spine"),
        (r"\bThere are\b", "Noted are"), (r"\bbilateral pleural effusions\b", "pleural effusions on both sides"),
        (r"\bbibasilar\b", "bilateral basilar"), (r"\bosseous\b", "bony"), (r"\b(left|right) pleural effusion\b", r"effusion on the \1"),
        (r"\bpulmonary edema\b", "edema of the lungs"), (r"\bcalcified granuloma\b", "granuloma with calcification"),
        (r"\bmild\b", "slight"), (r"\btiny\b", "small"), (r"\bsevere\b", "marked"), (r"\bstable\b", "unchanged"),
        (r"\bthe heart is enlarged\b", "there is cardiomegaly"), (r"\bhiatal hernia\b", "hernia of the hiatus"),
        (r"\bthe (right|left) (?:lung base|base)\b", r"the base of the \1 lung"), (r"\b(right|left) basilar ([a-z]+)\b", r"\2 at the \1 base"),
        (r"\b(right|left) (upper|middle|lower) lobe (consolidation|opacity|pneumonia|atelectasis|nodule|mass|granuloma)\b", r"\3 in the \1 \2 lobe"),
        (r"(?<=: )There is (an? [^.,]{4,60})\. ", r"\1 is seen. "), (r"(?<=\. )There is (an? [^.,]{4,60})\. ", r"\1 is seen. "),
        (r"\bNo ([a-z ]{4,30}), ([a-z ]{4,30}),? or ([a-z]+)\.", r"No \1. No \2. No \3."),
        (r"\bNo ([a-z]+(?: [a-z]+)?) or ([a-z]+(?: [a-z]+)?)\.", r"Neither \1 nor \2."),
        (r"\b(\d+)-year-old (man|woman|male|female)\b", r"\2, \1 years of age"), (r"\b\d\. (?=[A-Z])", ""),
        (r"\bis enlarged\b", "appears enlarged"), (r"\bdegenerative changes\b", "degenerative change"),
        (r"\bsmall (right|left)\b", r"\1 small"), (r"\b(right|left) lung\b", r"lung on the \1"),
    )
)  # fmt: skip


def reworded(text: str, rng: np.random.Generator, patterns: Sequence[tuple[re.Pattern[str], str]] = SAME) -> str:  # fmt: skip
    """The same in other words; each pattern is used with probability one half."""
    for pattern, other in patterns:
        if rng.random() < 0.5:
            text = pattern.sub(partial(_as_in, other), text)
    return text


def _as_in(other: str, found: re.Match[str]) -> str:
    return like(found, found.expand(other))


def like(found: re.Match[str], other: str) -> str:
    """``other`` with a capital where the match had one."""
    return other[:1].upper() + other[1:] if found[0][0].isupper() else other
