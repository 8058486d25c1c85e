"""Why a process ended, in the same words wherever it ran."""

import signal

__all__ = ["exit_reason"]


def exit_reason(code: int, *, out_of_memory: bool = False) -> str:
    """Return the reason that an exit code stands for: ``signal 9 (Killed)``, ``exit code 3``, ``out of memory``.

    Below 0 it is a signal, as Python's ``subprocess`` says it; above 128 too, as shells and Docker say it. A process
    that used all of its processor seconds ends with ``signal 24 (CPU time limit exceeded)``.
    """
    if out_of_memory:
        return "out of memory"
    number = -code if code < 0 else code - 128
    name = signal.strsignal(number) if number in signal.valid_signals() else None
    return f"signal {number} ({name})" if name else f"exit code {code}"
