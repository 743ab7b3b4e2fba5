"""A run on a Ray cluster: a copy of the model on each GPU or group of cores; this process reads, writes and enters.

Replicas get films and prompts and give images back: they share no folder, and one process writes the ledger. What a
lost replica had in hand is handed out again. When nothing is left to hand out, an idle replica repeats the batch that
takes longest. Whichever result comes first counts: an image depends on its item alone.
"""

import logging
import os
import socket
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthorax import __version__
from synthorax.errors import InputError, RunError
from synthorax.runs.folder import RunFolder
from synthorax.runs.items import Batch, Drawing, Item, Made, Make, free_memory, halved, is_out_of_memory

if TYPE_CHECKING:
    from synthorax.diffusion.model import DiffusionModel

#: Cores of a replica on processors, at most; a node's cores make two groups at least.
CORES = 8
#: So many replicas may be lost over one item, or while loading, before the run gives up.
LOSSES = 3
#: A batch is repeated when it takes so many times the median.
SLOW = 2.0


class _Replica:
    """A Ray actor: the model, in a process of its own."""

    def __init__(self, load: Callable[[], "DiffusionModel"], folder: Path) -> None:
        if folder.is_dir():  # relative paths mean here what they mean to the command
            os.chdir(folder)
        self._load = load
        self._is_full = False

    def load(self) -> tuple["DiffusionModel", dict[str, object]]:
        """Load the model; returns what it is, without its weights, and where."""
        self._model = self._load()
        where = {"pid": os.getpid(), "node": socket.gethostname(), "software_version": __version__}
        return replace(self._model, pipeline=None), where

    def draw(self, draw: Callable, inputs: Any, batch_size: int) -> Sequence[Made]:
        if self._is_full:  # what a batch too large left behind is let go only now, with its traceback
            free_memory()
        self._is_full = True
        images = draw(self._model, inputs, batch_size)
        self._is_full = False
        return images


@dataclass(frozen=True)
class _InHand:
    """What a replica is at; no items while it loads."""

    replica: Any
    items: Sequence[Item]
    batch_size: int
    since: float
    turn: int


class Replicas:
    """The model on every GPU or group of cores of a cluster; ``with`` ends them.

    Attributes:
        model: what it is, without weights.

    Raises:
        InputError: Ray is not installed, nobody answers, a cluster that nobody named has other machines, or it has no
            GPU for ``device``.
        RunError: a replica is of another synthorax, or none survives loading.
    """

    model: "DiffusionModel"

    def __init__(self, address: str, load: Callable[[], "DiffusionModel"], device: str) -> None:
        """Connect, and load the model everywhere.

        Args:
            address: ``auto`` (a cluster of this machine alone that is running, else a new one), ``local`` (a new
                one), or a cluster's address.
            load: loads the model; can be pickled.
            device: ``cuda`` or ``cpu``.
        """
        self._ray = _connected(address)
        try:
            nodes = [node for node in self._ray.nodes() if node["Alive"]]
            refuse_unnamed(address, [node["NodeManagerAddress"] for node in nodes], _own_address())
            self._needs, self._n = shares([node["Resources"] for node in nodes], device)
            self._start_one = lambda: (
                self._ray.remote(_Replica).options(**self._needs).remote(load, Path.cwd())
            )
            self._pending: dict[Any, _InHand] = {}
            self._idle: list[Any] = []
            self._losses: Counter[str] = Counter()
            self._news: list[dict[str, Any]] = []
            self._turn = 0
            for _ in range(self._n):
                self._start()
            self._wait_for_the_first()
        except BaseException:
            self._ray.shutdown()
            raise
        print(f"Ray: {self._n} replicas on {len(nodes)} machines", file=sys.stderr)

    def __enter__(self) -> "Replicas":
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def batches(self, run: RunFolder, todo: Sequence[Item], make: Make, batch_size: int) -> Iterator[Batch]:  # fmt: skip
        """See :data:`synthorax.runs.items.Batches`; ``make`` is a :class:`~synthorax.runs.items.Drawing`."""
        if not isinstance(make, Drawing):
            raise TypeError(f"make is a {type(make).__name__}; replicas need a Drawing.")
        queue, left = deque(todo), {item.item_id for item in todo}
        seconds: list[float] = []
        self._turn += 1
        self._losses.clear()
        while left:
            while self._idle and (some := self._next(queue, left, make.at_once * batch_size, seconds)):
                self._give(self._idle.pop(), some, make, batch_size)
            while self._news:
                run.log(**self._news.pop(0))
            found = self._one_done()
            if found is None:
                continue
            hand, made = found
            if hand.turn != self._turn or not hand.items:  # of an earlier call, or lost while loading
                continue
            if isinstance(made, BaseException):
                if is_out_of_memory(made) and hand.batch_size <= batch_size:
                    batch_size = halved(run, batch_size, made)
                queue.extendleft(item for item in reversed(hand.items) if item.item_id in left)
                continue
            seconds.append(time.monotonic() - hand.since)
            new = [(item, one) for item, one in zip(hand.items, made, strict=True) if item.item_id in left]
            left.difference_update(item.item_id for item in hand.items)
            if new:
                yield [item for item, _ in new], [one for _, one in new]

    def _wait_for_the_first(self) -> None:
        told_at = time.monotonic() + 60
        while not self._idle:
            self._one_done()
            if time.monotonic() > told_at:
                print(
                    f"waiting for Ray: a replica needs {self._needs} and has not loaded yet", file=sys.stderr
                )
                told_at = float("inf")

    def _start(self) -> None:
        replica = self._start_one()
        self._pending[replica.load.remote()] = _InHand(replica, (), 0, time.monotonic(), self._turn)

    def _give(self, replica: Any, some: Sequence[Item], make: Drawing, batch_size: int) -> None:
        ref = replica.draw.remote(make.draw, make.read(some), batch_size)
        self._pending[ref] = _InHand(replica, some, batch_size, time.monotonic(), self._turn)

    def _next(self, queue: deque[Item], left: set[str], n: int, seconds: Sequence[float]) -> Sequence[Item]:  # fmt: skip
        """What to hand out next: from the queue, else the batch that takes longest, unless somebody repeats it."""
        some: list[Item] = []
        while queue and len(some) < n:
            item = queue.popleft()
            if item.item_id in left:
                some.append(item)
        if some or not seconds:
            return some
        hands = Counter(item.item_id for hand in self._pending.values() for item in hand.items)
        slow = [
            hand
            for hand in self._pending.values()
            if hand.turn == self._turn
            and any(item.item_id in left and hands[item.item_id] == 1 for item in hand.items)
            and time.monotonic() - hand.since > SLOW * statistics.median(seconds)
        ]
        if not slow:
            return []
        return [item for item in min(slow, key=lambda hand: hand.since).items if item.item_id in left][:n]  # fmt: skip

    def _one_done(self) -> tuple[_InHand, Sequence[Made] | BaseException] | None:
        """What a replica finished, or how it failed; None after a second without news, and when one has loaded."""
        ready, _ = self._ray.wait([*self._pending], num_returns=1, timeout=1)
        if not ready:
            return None
        hand = self._pending.pop(ready[0])
        try:
            found = self._ray.get(ready[0])
        except self._ray.exceptions.RayTaskError as error:
            if not (hand.items and is_out_of_memory(error.cause)):
                raise error.cause from error
            self._idle.append(hand.replica)
            return hand, error.cause
        except self._ray.exceptions.RayError as error:
            self._lost(hand, error)
            return hand, error
        self._idle.append(hand.replica)
        if hand.items:
            return hand, found
        self._loaded(*found)
        return None

    def _loaded(self, model: "DiffusionModel", where: dict[str, object]) -> None:
        if where["software_version"] != __version__:
            raise RunError(
                f"the machine {where['node']} has synthorax {where['software_version']}, this one {__version__}; "
                "install the same on all of the cluster."
            )
        self.model = model
        self._news.append({"event": "replica", **where})

    def _lost(self, hand: _InHand, error: BaseException) -> None:
        """Start another one, unless that was done often enough."""
        names = [item.item_id for item in hand.items] or ["loading the model"]
        self._losses.update(names)
        self._news.append({"event": "lost replica", "n_items": len(hand.items)})
        worst, n = max(((name, self._losses[name]) for name in names), key=lambda pair: pair[1])
        if n >= LOSSES:
            first = str(error).splitlines()[0]
            raise RunError(
                f"{n} replicas were lost over {worst} ({first}); see Ray's logs, take a smaller --batch-size or --dtype "
                "bfloat16. What is finished is kept."
            ) from error
        print("a replica was lost: another one is started", file=sys.stderr)
        self._start()


def _connected(address: str):
    """The package ``ray``, connected."""
    # Of a new cluster alone: it reports nothing to its maker, and replicas are no less urgent than this process.
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_worker_niceness"):
        os.environ.setdefault(name, "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError("--ray needs Ray: pip install 'synthorax[ray]'.") from error
    if address not in ("auto", "local"):
        _require_answer(address)
    ray.init(None if address == "auto" else address, log_to_driver=False, logging_level=logging.ERROR)
    return ray


def _require_answer(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--ray is {address!r}, where nobody answers ({error}); expected auto, local, or the HOST:PORT of a cluster "
            "('ray start --head' prints it)."
        ) from error


def _own_address() -> str:
    import ray

    return ray.util.get_node_ip_address()


def refuse_unnamed(address: str, machines: Sequence[str], own: str) -> None:
    """Films and prompts go to other machines only where the user names the cluster.

    Raises:
        InputError: ``auto`` found a cluster with machines besides this one.
    """
    others = sorted(set(machines) - {own, "127.0.0.1"})
    if address == "auto" and others:
        raise InputError(
            f"--ray auto found a cluster with other machines ({', '.join(others)}): films and prompts would go there, "
            "which data use agreements such as PhysioNet's allow only where the data may lie. Name the cluster by its "
            "address (--ray HOST:6379) if it is yours, or take --ray local."
        )


def shares(resources: Sequence[dict[str, float]], device: str) -> tuple[dict[str, float], int]:
    """What a replica asks Ray for, and how many there shall be.

    Args:
        resources: of each node, as Ray counts them (``CPU``, ``GPU``).
        device: ``cuda``: one GPU a replica; ``cpu``: up to :data:`CORES` cores, at least two replicas a node.

    Raises:
        InputError: no such device in the cluster, or one that Ray does not hand out.
    """
    if device == "cuda":
        n = int(sum(node.get("GPU", 0) for node in resources))
        if not n:
            raise InputError("--device is cuda, but the Ray cluster has no GPU; take --device cpu or name another --ray.")  # fmt: skip
        return {"num_gpus": 1, "num_cpus": 1}, n
    if device != "cpu":
        raise InputError(
            f"--device is {device!r}; with --ray expected cpu, or cuda: each replica sees one GPU."
        )
    cores = [int(node["CPU"]) for node in resources if node.get("CPU", 0) >= 1]
    if not cores:
        raise InputError("the Ray cluster has no core to give; end what runs there, or name another --ray.")
    group = max(1, min(CORES, min(cores) // 2))
    return {"num_cpus": group}, sum(n // group for n in cores)
