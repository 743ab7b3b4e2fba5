"""A small judge of texts, taught by planted errors alone, without a physician's label (after MedVAL, arXiv 2507.03152).

    text, source -> pairs of a sentence and the one it most resembles -> features -> category, then level -> Verdict

Two pairs of linear models: for sentences of the text (something is said that is wrong), and for sentences of the source
(something is left out). Features have names: what changes between them (side, severity, measure, doubt, denial,
comparison), what the gate says of either, each crossed with the acuity of the finding; and how alike they are. Words alone
are none: a judge that learns them learns the templates. On disk: ``judge.json`` and ``weights.npz``, numbers and names.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from synthorax.concepts import Vocabulary
from synthorax.errors import InputError, ModelError
from synthorax.files import atomic
from synthorax.generation.facts import RANKS, Facts, facts_of_text, traits
from synthorax.generation.gate import check_text
from synthorax.generation.planting import Planted, acuity, lines_of
from synthorax.generation.sentences import COMPARED, NOT, NUMBER, RECOMMENDED, content
from synthorax.generation.verdict import CATEGORIES, JUDGED, TextError, Verdict
from synthorax.progress import track

NOTHING = "nothing"
CLASSES = (NOTHING, *CATEGORIES)
LEVELS = (1, 2, 3, 4)
TOLD, LEFT_OUT = "told", "left_out"
_DOUBT = re.compile(r"\b(?:may|might|could|possibl[ey]|probabl[ey]|likely|question\w*|suggest\w*|suspect\w*|cannot|compatible|consistent|keeping|concern\w*)\b", re.I)  # fmt: skip
_REASON = re.compile(r"\b(?:because|due to|therefore|hence|thus|proves?|caused?|causes|results? from|rules? out|ruled out|exclude[sd]?|explain\w*|accounts?)\b", re.I)  # fmt: skip
_SURE = re.compile(r"\b(?:definite\w*|certain\w*|obvious\w*|undoubted\w*|diagnostic|represents|pathognomonic)\b", re.I)  # fmt: skip
_SIGNS = {"compared": COMPARED, "recommended": RECOMMENDED, "reason": _REASON, "doubt": _DOUBT, "sure": _SURE, "not": NOT}  # fmt: skip

Features = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """What a judge is made with.

    Attributes:
        vocabulary: how findings are read.
        c: inverse strength of the penalty.
        threshold: an error is told where its probability reaches it; chosen on training reports that were put aside.
    """

    vocabulary: str = "openchest"
    c: float = 0.3
    threshold: float = 0.5


@dataclass(frozen=True)
class SmallJudge:
    """A trained judge; it is called as any :data:`~.verdict.Judge`.

    Attributes:
        settings: see :class:`Settings`.
        names: the features'.
        weights: ``told category``, ``told level``, ``left_out category``, ``left_out level`` -> float32
            ``(features + 1, K)``, the intercept last.
    """

    settings: Settings
    names: tuple[str, ...]
    weights: dict[str, np.ndarray]

    def __call__(self, text: str, source: str) -> Verdict:
        told, left_out = self.probabilities(text, source)
        return self.verdict(text, source, told, left_out)

    def probabilities(self, text: str, source: str) -> tuple[np.ndarray, np.ndarray]:
        """``(sentences, 12)`` of text and source: nothing wrong, and MedVAL's eleven categories."""
        words = Vocabulary.load(self.settings.vocabulary)
        features = pairs(text, source, words)
        return tuple(self._ask(f"{kind} category", features[kind]) for kind in (TOLD, LEFT_OUT))  # type: ignore[return-value]

    def verdict(self, text: str, source: str, told: np.ndarray, left_out: np.ndarray) -> Verdict:
        """The errors whose probability reaches the threshold, the highest level first."""
        words = Vocabulary.load(self.settings.vocabulary)
        features, errors = pairs(text, source, words), []
        for kind, p, lines in ((TOLD, told, lines_of(text)), (LEFT_OUT, left_out, lines_of(source))):
            for i in np.flatnonzero(1 - p[:, 0] >= self.settings.threshold) if len(p) else ():
                category = CLASSES[1 + int(p[i, 1:].argmax())]
                graded = with_category(features[kind][i], category)
                risk = LEVELS[int(self._ask(f"{kind} level", [graded])[0].argmax())]
                said = lines[i][1]
                against = _nearest(said, lines_of(source)) if kind == TOLD else said
                errors.append(TextError(JUDGED, None, said if kind == TOLD else "", against, category, risk))
        return Verdict(tuple(sorted(errors, key=lambda error: -error.risk)))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def _ask(self, name: str, features: Sequence[Features]) -> np.ndarray:
        weights = self.weights[name]
        if not features:
            return np.zeros((0, weights.shape[1]))
        place = self._places
        scores = np.tile(weights[-1], (len(features), 1))
        for row, some in zip(scores, features, strict=True):
            for feature, value in some.items():
                if feature in place:
                    row += value * weights[place[feature]]
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)

    def save(self, folder: Path | str) -> None:
        """Write ``weights.npz`` and ``judge.json``."""
        folder = Path(folder)
        with atomic(folder / "weights.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, names=np.array(self.names), **self.weights)
        with atomic(folder / "judge.json") as temporary:
            temporary.write_text(json.dumps({"judge": 1, **asdict(self.settings)}, indent=1) + "\n")


def is_small_judge(folder: Path | str) -> bool:
    """Whether a folder holds a judge of ours."""
    return (Path(folder) / "judge.json").is_file()


def load_small_judge(folder: Path | str) -> SmallJudge:
    """Raises: ModelError: files that are missing or damaged."""
    folder = Path(folder)
    try:
        told = json.loads((folder / "judge.json").read_text(encoding="utf-8"))
        del told["judge"]
        with np.load(folder / "weights.npz", allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
        return SmallJudge(Settings(**told), tuple(weights.pop("names").tolist()), weights)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} holds no whole judge ({type(error).__name__}: {error}). Train it again: synthorax train judge.") from error  # fmt: skip


def train(planted: Sequence[Planted], settings: Settings, seed: int = 0) -> SmallJudge:
    """Fit both pairs of models; every tenth text is put aside and chooses the threshold by its macro F1 over categories.

    Raises:
        InputError: too few texts to learn from.
    """
    if len(planted) < 50:
        raise InputError(
            f"{len(planted)} texts with planted errors are too few to learn from; expected 50 or more. Give more reports."
        )
    words = Vocabulary.load(settings.vocabulary)
    found = [pairs(p.text, p.source, words) for p in track(planted, "Texts read", unit="texts")]
    aside = [i for i in range(len(planted)) if i % 10 == 0]
    kept = [i for i in range(len(planted)) if i % 10]
    first = _fit([found[i] for i in kept], [planted[i] for i in kept], settings, seed)
    chosen = _best_threshold(first, [planted[i] for i in aside])
    return _fit(found, planted, replace(settings, threshold=chosen), seed)


def _fit(found: Sequence[dict[str, list[Features]]], planted: Sequence[Planted], settings: Settings, seed: int) -> SmallJudge:  # fmt: skip
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    tasks: list[tuple[str, list[Features], list[int], int]] = []
    for kind in (TOLD, LEFT_OUT):
        features = [one for some in found for one in some[kind]]
        errors = [error for p in planted for error in (p.told if kind == TOLD else p.dropped)]
        wrong = [(one, error) for one, error in zip(features, errors, strict=True) if error]
        tasks.append((f"{kind} category", features, [CLASSES.index(e.category) if e else 0 for e in errors], len(CLASSES)))  # fmt: skip
        tasks.append((f"{kind} level", [with_category(one, e.category) for one, e in wrong], [e.risk - 1 for _, e in wrong], len(LEVELS)))  # fmt: skip
    table = DictVectorizer(dtype=np.float32).fit([one for _, features, _, _ in tasks for one in features])
    weights = {}
    with threadpool_limits(1):  # the matrices are small: a second thread only waits
        for name, features, target, n in tasks:
            model = LogisticRegression(C=settings.c, max_iter=200, tol=1e-3, random_state=seed % 2**32)
            weights[name] = _all_classes(model.fit(table.transform(features), target), n)
    return SmallJudge(settings, tuple(map(str, table.feature_names_)), weights)


def _all_classes(model, n: int) -> np.ndarray:
    """Weights of all classes; one that the training texts lack is never answered."""
    coefficients, intercepts = model.coef_, model.intercept_
    weights = np.zeros((coefficients.shape[1] + 1, n), dtype=np.float32)
    weights[-1] = -30.0
    if len(model.classes_) == 2:
        coefficients, intercepts = (
            np.vstack([-coefficients / 2, coefficients / 2]),
            np.array([-intercepts[0] / 2, intercepts[0] / 2]),
        )
    for row, label in enumerate(model.classes_):
        weights[:-1, label], weights[-1, label] = coefficients[row], intercepts[row]
    return weights


def _best_threshold(judge: SmallJudge, planted: Sequence[Planted]) -> float:
    from synthorax.generation.judging import category_table, f1_of

    answers = [judge.probabilities(p.text, p.source) for p in planted]
    truth = category_table([p.errors for p in planted])
    best, chosen = -1.0, 0.5
    for threshold in np.arange(0.2, 0.85, 0.05):
        told = np.zeros_like(truth)
        for i, parts in enumerate(answers):
            for p in parts:
                for row in p[1 - p[:, 0] >= threshold] if len(p) else ():
                    told[i, int(row[1:].argmax())] = True
        score = float(np.mean([f1_of(truth[:, k], told[:, k]) for k in np.flatnonzero(truth.any(0))]))
        if score > best:
            best, chosen = score, float(round(threshold, 2))
    return chosen


def pairs(text: str, source: str, vocabulary: Vocabulary) -> dict[str, list[Features]]:
    """Features of each of :func:`~.planting.lines_of` the text (``told``) and of the source (``left_out``)."""
    told, true = [said for _, said in lines_of(text)], [said for _, said in lines_of(source)]
    facts = facts_of_text(text, vocabulary), facts_of_text(source, vocabulary)
    errors = check_text(text, facts[1], vocabulary).errors
    return {
        TOLD: _features(told, true, facts[0], facts[1], [(e.said, e) for e in errors if e.said], vocabulary),
        LEFT_OUT: _features(true, told, facts[1], facts[0], [(e.source, e) for e in errors if not e.said], vocabulary),
    }  # fmt: skip


def _features(
    here: list[str],
    there: list[str],
    own: Facts,
    other: Facts,
    errors: list[tuple[str, TextError]],
    vocabulary: Vocabulary,
) -> list[Features]:
    bags = [content(said) for said in there]
    whole, whole_text = frozenset().union(*bags) if bags else frozenset(), " ".join(there)
    states: dict[str, set[str]] = {}
    for s in other.statements:
        states.setdefault(s.concept, set()).add(s.state)
    stated: dict[str, list] = {}
    for s in own.statements:
        stated.setdefault(_bare(s.said), []).append(s)
    found = []
    for said in here:
        bag = content(said)
        alike = [len(bag & b) / max(len(bag | b), 1) for b in bags]
        nearest = there[int(np.argmax(alike))] if alike else ""
        best = max(alike, default=0.0)
        near = nearest if best >= 0.2 else ""
        statements = stated.get(_bare(said), [])
        a = acuity([s.concept for s in statements], vocabulary)
        plain: Features = {"alike": best, f"alike {round(best * 4)}": 1.0, "covered": len(bag & whole) / max(len(bag), 1), "new words": float(not bag & whole), f"acuity {a}": 1.0}  # fmt: skip
        marks = set(_changes(said, near, whole_text))
        marks |= {f"{s.state} {_state_of(s, states)}" for s in statements}
        marks |= {f"gate {e.kind}" for where, e in errors if _bare(where) == _bare(said)}
        for mark in marks:
            plain[mark] = 1.0
            plain[f"{mark} a{a}"] = 1.0
        found.append(plain)
    return found


def _changes(said: str, near: str, whole: str) -> Iterable[str]:
    """What a sentence has that the nearest, or all, of the other text has not."""
    for name, pattern in _SIGNS.items():
        here, there = bool(pattern.search(said)), bool(pattern.search(near))
        yield f"{name} {here:d}{there:d}{bool(pattern.search(whole)):d}"
    if not near:
        yield "alone"
        return
    sides = traits(said, "laterality"), traits(near, "laterality")
    yield "side " + _relation(*sides)
    yield "place " + _relation(traits(said, "locations"), traits(near, "locations"))
    ranks = [max((RANKS[v] for v in traits(t, "severity")), default=0) for t in (said, near)]
    yield f"severity {ranks[0] - ranks[1]} {min(ranks)}"
    yield "measure " + _relation(frozenset(NUMBER.findall(said)), frozenset(NUMBER.findall(near)))


def _relation(one: frozenset, other: frozenset) -> str:
    if one == other:
        return "same"
    return "added" if one > other else "lost" if one < other else "changed"


def _state_of(statement, states: dict[str, set[str]]) -> str:
    there = states.get(statement.concept, set())
    return "same" if statement.state in there else "+".join(sorted(there)) or "absent"


def _bare(said: str) -> str:
    return said.strip(" .;:\n").lower()


def _nearest(said: str, lines: list[tuple[str, str]]) -> str:
    bag = content(said)
    best = max(lines, key=lambda line: len(bag & content(line[1])) / max(len(bag | content(line[1])), 1), default=("", ""))  # fmt: skip
    return best[1] if bag & content(best[1]) else ""


def with_category(features: Features, category: str) -> Features:
    """Features for the level: also the category, and it crossed with acuity and marks."""
    crossed = {f"{category} | {name}": value for name, value in features.items() if name.startswith(("acuity", "severity"))}  # fmt: skip
    return {**features, category: 1.0, **crossed}
