"""readers: blinded reader studies of a run's films: design, storage, agreement between readers, analysis.

Public names: :data:`PROTOCOLS` (what is asked), :func:`create_study`, :class:`Study` (one SQLite file),
:func:`analyse`, :func:`agreement`.
"""

from synthorax.readers.agreement import agreement, gwet_ac1
from synthorax.readers.analysis import analyse
from synthorax.readers.design import create_study
from synthorax.readers.protocols import PROTOCOLS, Protocol
from synthorax.readers.study import Study

__all__ = ["PROTOCOLS", "Protocol", "Study", "agreement", "analyse", "create_study", "gwet_ac1"]
