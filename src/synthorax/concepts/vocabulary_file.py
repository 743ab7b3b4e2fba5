"""Reading a vocabulary's YAML and saying, in one sentence with the line, what is wrong with it."""

import itertools
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthorax.concepts.vocabulary import Concept, LabelColumns, Policy, Relabel, Vocabulary
from synthorax.errors import InputError

STATES = ("asserted", "uncertain", "negated", "historical")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _ConceptEntry(_Strict):
    label: str
    prompt: str
    sided: bool = True
    neutral: bool = False
    recipes: list[str] | None = None
    like: list[str] = Field(default_factory=list)
    phrases: list[str] = Field(default_factory=list)
    cautious: list[str] = Field(default_factory=list)
    not_these: list[str] = Field(default_factory=list)
    unless_near: list[str] = Field(default_factory=list)
    together: list[tuple[list[str], list[str]]] = Field(default_factory=list)


class _RelabelEntry(_Strict):
    concept: str
    label: str
    unless_any_of: list[str] = Field(min_length=1)


class _PolicyEntry(_Strict):
    counts_as_present: list[str]
    relabel: list[_RelabelEntry] = Field(default_factory=list)


class _LabelEntry(_Strict):
    present: list[str]
    absent: list[str] | None = None


class _LabelColumnsEntry(_Strict):
    no_finding: list[str]
    not_findings: list[str] = Field(default_factory=list)
    names: dict[str, _LabelEntry]
    asked: dict[str, list[str]] = Field(default_factory=dict)


class _VocabularyEntry(_Strict):
    name: str
    description: str = ""
    unremarkable: str = "unremarkable"
    labels: list[str]
    concepts: dict[str, _ConceptEntry]
    parents: dict[str, str] = Field(default_factory=dict)
    never_together: list[list[str]] = Field(default_factory=list)
    seldom_together: list[list[str]] = Field(default_factory=list)
    denied_with: list[tuple[str, str]] = Field(default_factory=list)
    policies: dict[str, _PolicyEntry]
    label_columns: _LabelColumnsEntry | None = None


def expand(phrase: str) -> list[str]:
    """'(hilar | mediastinal) adenopathy' -> both wordings; an empty choice leaves the word out."""
    pieces = [[choice.strip() for choice in piece.split("|")] for piece in re.split(r"[()]", phrase)]
    return list(
        dict.fromkeys(" ".join(" ".join(words).split()).lower() for words in itertools.product(*pieces))
    )


def plural(phrase: str) -> str:
    """The regular plural of a phrase's last word; a wrong one does no harm, it never occurs."""
    if phrase.endswith(("s", "x", "ch")):
        return phrase + "es"
    return phrase[:-1] + "ies" if phrase.endswith("y") and phrase[-2] not in "aeiou" else phrase + "s"


def read_vocabulary(path: Path) -> Vocabulary:
    """Read and check one vocabulary.

    Raises:
        InputError: not YAML, or a key missing, unknown or wrong; the sentence names file, line and key.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        entry = _VocabularyEntry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise _complaint(path, node, first["loc"], first["msg"]) from error
    _check_names(path, node, entry)
    concepts = {name: _concept(path, node, name, concept) for name, concept in entry.concepts.items()}
    policies = {
        name: Policy(
            name,
            frozenset(policy.counts_as_present),
            tuple(Relabel(rule.concept, rule.label, tuple(rule.unless_any_of)) for rule in policy.relabel),
        )
        for name, policy in entry.policies.items()
    }
    return Vocabulary(
        name=entry.name,
        by_name=concepts,
        labels=tuple(entry.labels),
        never_together=tuple(frozenset(rule) for rule in entry.never_together),
        seldom_together=tuple(frozenset(rule) for rule in entry.seldom_together),
        denied_with=tuple(entry.denied_with),
        parents=entry.parents,
        policies=policies,
        label_columns=_label_columns(entry.label_columns),
        policy="strict" if "strict" in policies else next(iter(policies)),
        unremarkable=entry.unremarkable,
    )


def _concept(path: Path, node: yaml.Node, name: str, entry: _ConceptEntry) -> Concept:
    """One concept, with the wordings of those that it is like."""
    others = []
    for position, reference in enumerate(entry.like):
        vocabulary, _, concept = reference.partition(".")
        try:
            others.append(Vocabulary.load(vocabulary).by_name[concept])
        except (InputError, KeyError) as error:
            where = ("concepts", name, "like", position)
            raise _complaint(
                path, node, where, f"is {reference!r}; expected vocabulary.concept of a shipped vocabulary"
            ) from error

    def merged(own: tuple, field: str) -> tuple:
        return tuple(dict.fromkeys([*own, *(item for other in others for item in getattr(other, field))]))

    recipes = entry.recipes if entry.recipes is not None else [] if others else [name]
    inherited = [] if entry.recipes is not None else [r for other in others for r in other.recipes]
    together = tuple((_with_plurals(left), _with_plurals(right)) for left, right in entry.together)
    return Concept(
        name=name,
        label=entry.label,
        phrase=entry.prompt,
        phrases=merged(_with_plurals(entry.phrases), "phrases"),
        cautious=merged(_with_plurals(entry.cautious), "cautious"),
        not_phrases=merged(_with_plurals(entry.not_these), "not_phrases"),
        together=merged(together, "together"),
        unless_near=merged(_with_plurals(entry.unless_near), "unless_near"),
        sided=entry.sided,
        neutral=entry.neutral,
        recipes=tuple(dict.fromkeys([*recipes, *inherited])),
    )


def _label_columns(entry: _LabelColumnsEntry | None) -> LabelColumns | None:
    if entry is None:
        return None
    return LabelColumns(
        no_finding=tuple(entry.no_finding),
        not_findings=tuple(entry.not_findings),
        present={label: tuple(given.present) for label, given in entry.names.items()},
        absent={label: tuple(given.absent or given.present) for label, given in entry.names.items()},
        asked={name: tuple(labels) for name, labels in entry.asked.items()},
    )


def _expanded(phrases: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for phrase in phrases for word in expand(phrase)))


def _with_plurals(phrases: list[str]) -> tuple[str, ...]:
    singular = _expanded(phrases)
    return tuple(dict.fromkeys([*singular, *map(plural, singular)]))


def _check_names(path: Path, node: yaml.Node, entry: _VocabularyEntry) -> None:
    def known(where: tuple[Any, ...], value: str, allowed: Any) -> None:
        if value not in allowed:
            raise _complaint(path, node, where, f"is {value!r}; expected one of {', '.join(allowed)}")

    known(("unremarkable",), entry.unremarkable, entry.concepts)
    for name, concept in entry.concepts.items():
        known(("concepts", name, "label"), concept.label, entry.labels)
    if entry.labels[-1] != entry.concepts[entry.unremarkable].label:
        raise _complaint(path, node, ("labels",), "must end with the label of the unremarkable concept")
    meant = {concept.label for concept in entry.concepts.values()} | {*entry.parents.values()}
    for number, label in enumerate(entry.labels):
        if label not in meant:
            raise _complaint(path, node, ("labels", number), f"has no concept that stands for {label!r}")
    for number, rule in enumerate(entry.never_together):
        for position, name in enumerate(rule):
            known(("never_together", number, position), name, ["*", *entry.concepts])
    for number, rule in enumerate(entry.seldom_together):
        for position, name in enumerate(rule):
            known(("seldom_together", number, position), name.removeprefix("not "), entry.concepts)
    for number, pair in enumerate(entry.denied_with):
        for position, name in enumerate(pair):
            known(("denied_with", number, position), name, entry.concepts)
    for label, parent in entry.parents.items():
        known(("parents",), label, entry.labels)
        known(("parents", label), parent, entry.labels)
    if entry.label_columns is not None:
        for label, given in entry.label_columns.names.items():
            for key in ("present", "absent"):
                for position, name in enumerate(getattr(given, key) or ()):
                    known(("label_columns", "names", label, key, position), name, entry.concepts)
        for source, labels in entry.label_columns.asked.items():
            for position, label in enumerate(labels):
                known(("label_columns", "asked", source, position), label, entry.label_columns.names)
    for name, policy in entry.policies.items():
        for position, state in enumerate(policy.counts_as_present):
            known(("policies", name, "counts_as_present", position), state, STATES)
        for number, exception in enumerate(policy.relabel):
            where = ("policies", name, "relabel", number)
            known((*where, "concept"), exception.concept, entry.concepts)
            known((*where, "label"), exception.label, entry.labels)
            for position, other in enumerate(exception.unless_any_of):
                known((*where, "unless_any_of", position), other, entry.concepts)


def _complaint(path: Path, node: yaml.Node | None, where: tuple[Any, ...], what: str) -> InputError:
    """One sentence with the file, the line of the deepest key that exists, and the key."""
    line = 1
    for step in where:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    key = ".".join(map(str, where)) or "the file"
    return InputError(
        f"{path} line {line}: {key} {what[0].lower() + what[1:]}. See vocabularies/corpa.yaml for the form."
    )
