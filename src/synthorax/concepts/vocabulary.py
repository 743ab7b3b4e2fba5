"""The vocabulary: concepts, the labels they stand for, and the rules between them.

Labels follow from concepts by three-valued (Kleene) logic, written with numbers so that one line serves
a single film and a column of a million: absent 0, unknown 1/2, present 1; *or* is the maximum, *and* the
minimum, *not* is 1 - x.

    label            = or over its concepts; unknown becomes absent where the film is called unremarkable
    No Relevant Finding = not (or over all other labels)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, reduce
from pathlib import Path
from typing import Any

from synthorax.concepts.vector import ConceptVector
from synthorax.errors import unknown_choice

ABSENT, UNKNOWN, PRESENT = 0.0, 0.5, 1.0
_FOLDER = Path(__file__).parent / "vocabularies"


@dataclass(frozen=True)
class Concept:
    """One radiological finding and the words for it.

    Attributes:
        name: snake_case name, also the column's name.
        label: the diagnostic label that the finding stands for.
        phrase: how a prompt says it, e.g. 'Enlarged heart'.
        phrases: wordings that count wherever they occur; plurals are added.
        cautious: wordings on which readers differ ('top-normal heart'); never more than uncertain.
        not_phrases: longer wordings that contain a phrase and mean something else ('breast mass').
        together: pairs of word lists that count when both occur in one clause, in either order.
        unless_near: words in the same clause that take the finding back ('calcified' for a nodule).
        sided: whether the finding has a side.
        neutral: says nothing of disease (a device): may stand beside ``unremarkable``.
        recipes: the virtual patients' findings that show it; none where it cannot be seen or nobody made one.
    """

    name: str
    label: str
    phrase: str
    phrases: tuple[str, ...] = ()
    cautious: tuple[str, ...] = ()
    not_phrases: tuple[str, ...] = ()
    together: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    unless_near: tuple[str, ...] = ()
    sided: bool = True
    neutral: bool = False
    recipes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relabel:
    """Under one policy ``concept`` stands for ``label``, unless one of ``unless_any_of`` is present."""

    concept: str
    label: str
    unless_any_of: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """How mentions become 0 or 1: the states that count as present, and the exceptions to the labels."""

    name: str
    present_states: frozenset[str]
    relabel: tuple[Relabel, ...] = ()


@dataclass(frozen=True)
class LabelColumns:
    """What the label columns of published sets say of the concepts.

    Attributes:
        no_finding: names that say that the film shows nothing.
        not_findings: names that say nothing of the lung, heart or pleura (devices).
        present, absent: label name -> the concepts that it makes present, and absent where it is absent.
        asked: set -> the labels that it asks of every film.
    """

    no_finding: tuple[str, ...]
    not_findings: tuple[str, ...]
    present: Mapping[str, tuple[str, ...]]
    absent: Mapping[str, tuple[str, ...]]
    asked: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Vocabulary:
    """Concepts, labels and rules, read from YAML by :meth:`load`.

    Attributes:
        name: name of the shipped vocabulary, or the stem of the user's file.
        by_name: the concepts, in the vocabulary's order.
        labels: the labels, 'No Relevant Finding' last.
        never_together: sets of concepts that cannot occur in one film; ``*`` stands for any other concept that
            is not neutral.
        seldom_together: sets of concepts that can hardly occur in one film; ``not x`` stands for x being absent.
        denied_with: pairs of a finding and one that hardly lacks beside it, on the same side.
        parents: label -> the label that it is a kind of, and that holds where it holds.
        label_columns: what a set's own labels mean; None where the vocabulary does not say.
        policies: the named policies; ``policy`` is the one in force.
    """

    name: str
    by_name: Mapping[str, Concept] = field(repr=False)
    labels: tuple[str, ...]
    never_together: tuple[frozenset[str], ...] = field(repr=False)
    seldom_together: tuple[frozenset[str], ...] = field(repr=False)
    denied_with: tuple[tuple[str, str], ...] = field(repr=False)
    parents: Mapping[str, str] = field(repr=False)
    policies: Mapping[str, Policy] = field(repr=False)
    label_columns: LabelColumns | None = field(default=None, repr=False)
    policy: str = "strict"
    unremarkable: str = "unremarkable"

    @classmethod
    def load(cls, name_or_path: str | Path = "corpa", policy: str = "strict") -> "Vocabulary":
        """A shipped vocabulary by its name, or a user's YAML file by its path.

        Raises:
            InputError: no such vocabulary, a file that breaks the schema (with its line), no such policy.
        """
        from synthorax.concepts.vocabulary_file import read_vocabulary

        shipped = _FOLDER / f"{name_or_path}.yaml"
        if shipped.is_file():
            return _shipped(shipped).under(policy)
        if not Path(name_or_path).is_file():
            raise unknown_choice(
                "vocabulary", str(name_or_path), [path.stem for path in _FOLDER.glob("*.yaml")]
            )
        return read_vocabulary(Path(name_or_path)).under(policy)

    def under(self, policy: str) -> "Vocabulary":
        """The same vocabulary with another policy in force."""
        if policy not in self.policies:
            raise unknown_choice("policy", policy, self.policies)
        return self if policy == self.policy else replace(self, policy=policy)

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """Names of the concepts, in order."""
        return tuple(self.by_name)

    @cached_property
    def no_finding_label(self) -> str:
        """The label that holds where no other does."""
        return self.by_name[self.unremarkable].label

    @cached_property
    def pathology_labels(self) -> tuple[str, ...]:
        """The labels without the one for no finding."""
        return tuple(label for label in self.labels if label != self.no_finding_label)

    @cached_property
    def pathologies(self) -> tuple[str, ...]:
        """The concepts without ``unremarkable``."""
        return tuple(name for name in self.concepts if name != self.unremarkable)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """The concepts that speak of disease: neither ``unremarkable`` nor neutral."""
        return tuple(name for name in self.pathologies if not self.by_name[name].neutral)

    def lineage(self, label: str) -> Iterator[str]:
        """The label, the one that it is a kind of, and so on."""
        while label:
            yield label
            label = self.parents.get(label, "")

    def concepts_of(self, label: str) -> tuple[str, ...]:
        """The concepts that stand for a label, in order."""
        if label not in self.labels:
            raise unknown_choice("label", label, self.labels)
        return tuple(name for name, concept in self.by_name.items() if concept.label == label)

    def label_of(self, concept: str) -> str:
        """The label that a concept stands for."""
        return self._concept(concept).label

    def phrase(self, concept: str) -> str:
        """How a prompt says the concept, capitalised, without full stop."""
        return self._concept(concept).phrase

    def _concept(self, name: str) -> Concept:
        if name not in self.by_name:
            raise unknown_choice("concept", name, self.by_name)
        return self.by_name[name]

    def ordered(self, concepts: Iterable[str]) -> list[str]:
        """The concepts in the vocabulary's order.

        Raises:
            InputError: a name that is not in the vocabulary.
        """
        rank = {name: position for position, name in enumerate(self.concepts)}
        return sorted((self._concept(name).name for name in set(concepts)), key=rank.__getitem__)

    def suppressed(self, vector: ConceptVector) -> ConceptVector:
        """The vector without ``unremarkable`` where any other concept is present."""
        others = vector.present - {self.unremarkable}
        if others.isdisjoint(self.findings) or vector.state(self.unremarkable) is False:
            return vector
        return ConceptVector(others, vector.unknown - {self.unremarkable})

    def is_valid(self, concepts: Iterable[str]) -> bool:
        """Whether the concepts can occur in one film (``never_together`` in the YAML)."""
        concepts = frozenset(concepts)
        for rule in self.never_together:
            named = rule - {"*"}
            others = {name for name in concepts - named if not self.by_name[name].neutral}
            if named <= concepts and ("*" not in rule or others):
                return False
        return True

    def is_seldom(self, concepts: Iterable[str]) -> bool:
        """Whether the concepts, and no others, can hardly occur in one film (``seldom_together`` in the YAML)."""
        concepts = frozenset(concepts)
        return any(
            all((name.removeprefix("not ") in concepts) != name.startswith("not ") for name in rule)
            for rule in self.seldom_together
        )

    def derive_labels(
        self, states: Mapping[str, Any], maximum: Callable[..., Any], minimum: Callable[..., Any]
    ) -> dict[str, Any]:
        """Labels from states 0, 1/2, 1: numbers by ``max, min``, arrays by ``np.maximum, np.minimum``."""
        shares: dict[str, list[Any]] = {label: [] for label in self.pathology_labels}
        exceptions = {rule.concept: rule for rule in self.policies[self.policy].relabel}
        for name in self.pathologies:
            own, state = self.by_name[name].label, states[name]
            if rule := exceptions.get(name):
                held = reduce(maximum, [states[other] for other in rule.unless_any_of])
                given = {own: minimum(state, held), rule.label: minimum(state, 1 - held)}
            else:
                given = {own: state}
            for label, value in given.items():
                for kind in self.lineage(label):
                    shares[kind].append(value)
        is_normal = states[self.unremarkable] == PRESENT
        labels = {}
        for label, parts in shares.items():
            value = reduce(maximum, parts)
            unknown = UNKNOWN if label in self.disease_labels else 0.0
            labels[label] = value - (is_normal & (value == UNKNOWN)) * unknown
        labels[self.no_finding_label] = 1 - reduce(maximum, (labels[x] for x in self.disease_labels))
        return {label: labels[label] for label in self.labels}

    @cached_property
    def disease_labels(self) -> tuple[str, ...]:
        """The labels that ``No Finding`` excludes: those of findings, and their parents."""
        return tuple(dict.fromkeys(x for name in self.findings for x in self.lineage(self.label_of(name))))

    def labels_of(self, vector: ConceptVector) -> dict[str, bool | None]:
        """The labels that follow from a vector, under the policy in force.

        A label is True where one of its concepts is present, False where all of them are known to be absent
        (or the film is called unremarkable, which excludes them), None otherwise. 'No Relevant Finding' is
        False where any other label is True, True where all are False, None otherwise.
        """
        numbers = {None: UNKNOWN, False: ABSENT, True: PRESENT}
        vector = self.suppressed(vector)
        states = {name: numbers[vector.state(name)] for name in self.concepts}
        back = {UNKNOWN: None, ABSENT: False, PRESENT: True}
        return {label: back[value] for label, value in self.derive_labels(states, max, min).items()}

    def true_labels(self, vector: ConceptVector) -> tuple[str, ...]:
        """The labels that are known to hold, in order."""
        return tuple(label for label, value in self.labels_of(vector).items() if value)

    def supporting(self, label: str, vector: ConceptVector) -> frozenset[str]:
        """The present concepts that stand for a label in this vector, after the policy's exceptions."""
        found = {name for name in vector.present if label in self.lineage(self.by_name[name].label)}
        for rule in self.policies[self.policy].relabel:
            if rule.concept in vector.present and not vector.present & set(rule.unless_any_of):
                (found.add if rule.label == label else found.discard)(rule.concept)
        return frozenset(found)

    def __hash__(self) -> int:
        return hash((self.name, self.concepts, self.policy))


def label_column(label: str) -> str:
    """The column of a label: 'Pleural Effusion' -> ``label_pleural_effusion``."""
    return "label_" + "_".join(label.lower().replace("-", " ").split())


@cache
def _shipped(path: Path) -> Vocabulary:
    from synthorax.concepts.vocabulary_file import read_vocabulary

    return read_vocabulary(path)
