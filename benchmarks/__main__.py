"""``python -m benchmarks [NAME ...]``: measure the named subjects, or all; exit 1 when a goal is missed.

What is measured goes to ``build/bench/RESULTS.md``, one table; other subjects' figures stay there with their date.
"""

import importlib
import signal
import sys
import time
import traceback

from benchmarks import measure
from benchmarks.measure import Figure

SUBJECTS = {
    "realism": "how close simulated comments come to real ones",
    "notebooks": "running and checking notebooks, beside nbval and papermill",
    "grading": "grading a class, beside nbgrader",
    "serving": "the filter's rates and latencies, beside other ways to serve the same pipeline",
    "reliability": "what kills, bad requests and an outage lose",
    "observing": "what watching a service costs",
    "drift": "false alarms of the drift detector, and its delay",
    "deploying": "size and build of the image; what rollouts cost readers on each runtime",
    "releasing": "error rates of canaries; rollbacks under load",
    "responding": "some drills, and what interrupted drills leave behind",
}


def main(names: list[str]) -> int:
    """Measure each subject and print the table; a subject that fails is a row of it, and the others go on."""
    chosen, missed = names or list(SUBJECTS), 0
    if unknown := [name for name in names if name not in SUBJECTS]:
        known = "\n".join(f"  {name:12} {about}" for name, about in SUBJECTS.items())
        print(f"no subject {', '.join(unknown)}; there are:\n{known}", file=sys.stderr)
        return 2
    for name in chosen:
        figures, began = [], time.monotonic()
        print(f"\n== {name}: {SUBJECTS[name]}", flush=True)
        try:
            for figure in importlib.import_module(f"benchmarks.{name}").figures():
                print("  " + " | ".join(figure.cells()), flush=True)
                figures.append(figure)
        except Exception as error:  # noqa: BLE001 (whatever it is: the table says so, and the run goes on)
            traceback.print_exc()
            figures.append(Figure("measured to the end", 0, "", ">= 1", f"{type(error).__name__}: {error}"[:300]))
        minutes = (time.monotonic() - began) / 60
        measure.store(name, [*figures, Figure("time to measure", minutes, "min")])
        missed += sum(figure.holds is False for figure in figures)
    print(f"\n{measure.table()}\n{missed} goals missed by {', '.join(chosen)}; the table: {measure.RESULTS}")
    return 1 if missed else 0


if __name__ == "__main__":
    # both unwind, so that all that was started is ended; a script's background jobs would ignore an interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    sys.exit(main(sys.argv[1:]))
