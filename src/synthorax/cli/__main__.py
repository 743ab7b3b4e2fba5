"""``python -m synthorax.cli``: the same as the ``synthorax`` script."""

from synthorax.cli import main

main()
