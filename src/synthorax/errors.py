"""Every error a user can act on, one tree.

SynthoraxError
├── InputError    a file, a row or an argument that cannot be used
├── ModelError    a model folder that is missing, incomplete or of the wrong kind
└── RunError      a run folder that cannot be continued

A message says what was found, where, what is allowed and what to do. The command line prints it in one
line and exits with 2; ``--debug`` shows the traceback.
"""

import difflib
from collections.abc import Iterable


class SynthoraxError(Exception):
    """Base of everything that synthorax raises on purpose."""


class InputError(SynthoraxError):
    """A file, a row or an argument cannot be used as it is."""


class ModelError(SynthoraxError):
    """A model cannot be loaded or does not fit its use."""


class RunError(SynthoraxError):
    """A run folder cannot be continued."""


def unknown_choice(what: str, value: str, allowed: Iterable[str]) -> InputError:
    """The error for a wrong choice, with the closest match."""
    choices = sorted(allowed)
    close = difflib.get_close_matches(value, choices, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return InputError(f"{what} is {value!r}; expected one of {', '.join(choices)}.{hint}")
