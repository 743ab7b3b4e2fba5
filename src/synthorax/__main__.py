"""``python -m synthorax``: the same as the ``synthorax`` script, in the form that launchers of processes take."""

from synthorax.cli import main

main()
