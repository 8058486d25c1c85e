"""``python -m benchmarks [NAME ...]``: run the named benchmarks, or all; exit 1 when a goal is missed."""

import importlib
import pkgutil
import signal
import sys

import benchmarks

SHARED = {
    "__main__",
    "deploying",
    "evidence",
    "harness",
    "load",
    "observing",
    "peers",
    "releasing",
    "responding",
    "serving",
}


def main(names: list[str]) -> int:
    """Run each benchmark's ``main()``, which returns whether its goals hold."""
    known = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in SHARED)
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    results = [importlib.import_module(f"benchmarks.{name}").main() for name in names or known]
    return 0 if all(results) else 1


if __name__ == "__main__":
    # a script's background jobs ignore it, and so would all that is started here and interrupted
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
