"""One of the processes that tests/diffusion/test_processes.py launches: ``one_of_two.py PLACE STEP WORDS...``.

Runs ``synthorax WORDS`` in float32. If STEP is not 0, the autoencoder of PLACE is trained before, and the first process is
killed (kill -9) at STEP of WORDS. The others may not write anything below PLACE.
"""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from synthorax.cli import main, run
from synthorax.diffusion import model, new_models, train_autoencoder
from synthorax.diffusion.checkpoints import Trainer
from synthorax.diffusion.recipes import read_recipe

PLACE, STEP, WORDS = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
IS_FIRST = os.environ["RANK"] == "0"


def forbid_writing(event: str, arguments: tuple) -> None:
    """An audit hook."""
    if event == "open":
        path, mode, flags = arguments
        is_writing = set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
    else:
        path, is_writing = arguments[0] if arguments else "", event == "os.rename"
    if is_writing and str(path).startswith(str(PLACE)):
        raise AssertionError(f"a process that is not the first writes {path}")


if not IS_FIRST:
    sys.addaudithook(forbid_writing)
with pytest.MonkeyPatch.context() as patch:
    for module in (model, new_models, train_autoencoder):
        patch.setattr(module, "compute_dtype", lambda *_: torch.float32)
    if STEP:
        films, out = WORDS[WORDS.index("--films") + 1], PLACE / "autoencoder"
        odd = ["train", "autoencoder", str(PLACE / "odd.yaml"), "--films", films, "--out", str(out)]
        assert run(odd) == 2
        config = read_recipe(str(PLACE / "autoencoder.yaml"), train_autoencoder.AutoencoderConfig)
        train_autoencoder.train_autoencoder(config, [Path(films)], out)
        update = Trainer.update

        def killed(self, *losses):
            if IS_FIRST and self.step == STEP:
                os.kill(os.getpid(), signal.SIGKILL)
            return update(self, *losses)

        patch.setattr(Trainer, "update", killed)
    else:  # as on two machines that share no folder
        assert run([*WORDS, "--out", str(PLACE / f"apart-{os.environ['RANK']}")]) == 2
    sys.argv = ["synthorax", *WORDS]
    main()
