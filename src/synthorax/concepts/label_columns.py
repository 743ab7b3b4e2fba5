"""A set's own label columns as concepts, where there are no reports.

    present in the set    -> its concepts are present
    absent in the set     -> its concepts are absent
    uncertain, or blank   -> NULL
    'No Finding'          -> unremarkable is 1, and all that the set asks of every film is absent
    any other finding     -> unremarkable is 0

A label is known by its words, whatever their case and whether ``_`` or a blank is between them: sets spell 'Pleural effusion',
'pleural_effusion' and 'Pleural Effusion'.

A concept that the columns cannot express is NULL, not absent. A film with nothing but findings outside the
vocabulary is kept and flagged ``other_findings``.
"""

import polars as pl

from synthorax.concepts.table import KEYS, columns_with_labels
from synthorax.concepts.vocabulary import Vocabulary
from synthorax.errors import InputError

LISTS = ("labels_present", "labels_absent", "labels_uncertain")


def from_label_columns(studies: pl.DataFrame, vocabulary: Vocabulary) -> pl.DataFrame:
    """The concept table of films whose set gives labels instead of reports.

    Args:
        studies: manifest rows with ``labels_present``, ``labels_absent`` and (or NULL) ``labels_uncertain``.
            ``source`` names the set; one that the vocabulary does not know asks nothing of every film.
        vocabulary: says in ``label_columns`` what each label means.

    Returns:
        ``study_id, patient_id, image_id``, the concept and label columns, and ``other_findings``.

    Raises:
        InputError: no label lists in the table, or a vocabulary that does not say what labels mean.
    """
    columns = vocabulary.label_columns
    if columns is None:
        raise InputError(
            f"vocabulary {vocabulary.name!r} has no label_columns; expected what each label of the set means. "
            "Add them to its YAML (see vocabularies/corpa.yaml), or give reports."
        )
    for name in ("study_id", *LISTS[:2]):
        if name not in studies.columns:
            raise InputError(
                f"the studies table has no column {name!r}. Make it with 'synthorax studies import'."
            )

    spelled = [name for name in LISTS if name in studies.columns]
    element = pl.element().str.to_lowercase().str.replace_all("_", " ", literal=True)
    studies = studies.with_columns(pl.col(spelled).cast(pl.List(pl.String)).list.eval(element))

    def lists(label: str, which: str) -> pl.Expr:
        if which not in studies.columns:
            return pl.lit(False)
        return pl.col(which).list.contains(_words(label)).fill_null(False)

    def lists_any(labels: list[str], which: str) -> pl.Expr:
        return pl.any_horizontal(pl.lit(False), *(lists(label, which) for label in labels))

    is_normal = lists_any(list(columns.no_finding), LISTS[0])
    neutral = [*columns.no_finding, *columns.not_findings]
    any_finding = (
        pl.col(LISTS[0]).list.set_difference([_words(label) for label in neutral]).list.len().fill_null(0) > 0
    )
    known = lists_any(list(columns.present), LISTS[0])
    source = pl.col("source") if "source" in studies.columns else pl.lit(None, dtype=pl.String)
    expressions = {}
    for concept in vocabulary.pathologies:
        giving = [label for label, given in columns.present.items() if concept in given]
        denying = [label for label, given in columns.absent.items() if concept in given]
        sets = [name for name, asked in columns.asked.items() if set(denying) & set(asked)]
        denied = lists_any(denying, LISTS[1]) & ~lists_any(denying, LISTS[0]) & ~lists_any(denying, LISTS[2])
        expressions[concept] = (
            pl.when(lists_any(giving, LISTS[0]))
            .then(1)
            .when(denied | (is_normal & source.is_in(sets)))
            .then(0)
        )
    expressions[vocabulary.unremarkable] = (
        pl.when(any_finding)
        .then(0)
        .when(is_normal)
        .then(1)
        .when(lists_any(list(columns.no_finding), LISTS[1]))
        .then(0)
    )
    concepts = studies.select(
        *(name for name in KEYS if name in studies.columns),
        *(expressions[name].cast(pl.Int8).alias(name) for name in vocabulary.concepts),
        (any_finding & ~known).alias("other_findings"),
    )
    return columns_with_labels(concepts, vocabulary)


def _words(label: str) -> str:
    return label.lower().replace("_", " ")
