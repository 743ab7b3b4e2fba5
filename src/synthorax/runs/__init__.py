"""A run: its folder, its figures, its report, and the machine it runs on."""

from importlib import import_module

_PUBLIC = {
    "Results": "results",
    "describe_machine": "machine",
    "read_results": "results",
    "write_report": "report",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
