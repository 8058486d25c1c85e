"""Inside the grading sandbox: IPython's shell, which executes the cells."""

from typing import Any

__all__ = ["made_shell", "raised", "run_cell"]

_LONGEST_TEXT = 500


def made_shell() -> Any:
    """Return a shell that has run a cell and loaded what one needs, and forgotten it."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Shell(InteractiveShell):
        def showtraceback(self, *_: object, **__: object) -> None:
            """Making one is dear, and nobody reads it."""

        def _format_exception_for_storage(self, *_: object, **__: object) -> dict[str, Any]:
            return {}  # as dear

        def enable_gui(self, gui: object = None) -> None:
            """There is no window to wait for; ``%matplotlib`` asks."""

    config = Config()
    config.HistoryManager.enabled = False  # it would start a thread, and forking wants none
    config.InteractiveShell.colors = "nocolor"
    shell = Shell.instance(config=config)
    for source in ("1\n", "raise KeyError"):  # what a first cell would have to load
        shell.run_cell(source, store_history=False)
    shell.reset(new_session=True)
    return shell


def run_cell(shell: Any, source: str) -> dict[str, Any]:
    """Run a cell as a notebook does and return the answer: that there is no value, or what was raised."""
    result = shell.run_cell(source, store_history=True)
    error = result.error_before_exec or result.error_in_exec
    return {"value": None} if error is None else raised(error)


def raised(error: BaseException) -> dict[str, Any]:
    """Return the answer that says what was raised, and in which line of the cell, if in any."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if "ipykernel" in trace.tb_frame.f_code.co_filename or "ipython-input" in trace.tb_frame.f_code.co_filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno or 0
    try:
        text = str(error)[:_LONGEST_TEXT]
    except Exception:  # noqa: BLE001 (an exception of the student's own)
        text = ""
    return {"raised": type(error).__name__, "text": text, "line": line}
