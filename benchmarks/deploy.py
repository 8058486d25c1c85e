"""Images, runtimes and hosts: what they cost, what fails meanwhile. ``build/bench/deploy.json`` has it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.deploying.configured import hosts_figures
from benchmarks.deploying.images import image_figures
from benchmarks.deploying.rollouts import rollout_figures
from benchmarks.evidence import Claim, counted
from benchmarks.harness import Figure, report
from mlops_helpers.model import artifact, data, training

__all__ = ["main"]

_RUNTIMES = ("test_runtime", "test_runtime_contract", "test_runtime_docker")
CLAIMS = [
    Claim(
        "bad input and faults tried",
        "bad input and faults without a clear error, or leaving something behind",
        (*_RUNTIMES, "test_images", "test_hosts"),
        (
            *(
                "cannot",
                "refused",
                "refuse",
                "not_here",
                "may_not_use",
                "must_be_there",
                "never_gets_ready",
                "dies",
                "is_said",
            ),
            *("full_disk", "called_so", "taken_port", "failing_step", "missing", "fails", "bad_hosts", "does_not"),
        ),
        25,
    ),
    Claim(
        "interrupts and kills of makers tried",
        "interrupted or killed makers that leave something behind",
        (*_RUNTIMES, "test_images", "test_hosts"),
        ("interrupt", "ctrl_c", "killed_platform", "nothing_is_left", "killed_maker"),
        12,
    ),
    Claim(
        "claims made on every runtime, each tried on three",
        "claims that a runtime does not keep",
        ("test_runtime_contract",),
        ("[process]", "[docker]", "[swarm]"),
        24,
    ),
    Claim(
        "rotations of the secret under traffic",
        "rotations with a failed request, or a secret where it may not be",
        ("test_hosts",),
        ("secret_is_rotated",),
        1,
    ),
]


def _figures() -> Iterator[Figure]:
    yield from image_figures()
    comments = data.load("simulated", n_comments=4_000, seed=3)
    with TemporaryDirectory() as scratch:
        exported = artifact.export(training.train(comments.frame, comments.sha256), Path(scratch) / "artifact")
        yield from rollout_figures(exported, Path(scratch))
        yield from hosts_figures(exported)
    yield from counted(CLAIMS, "tests/deploy")


def main() -> bool:
    """Measure, print, store; return whether every goal holds."""
    return report("deploy", list(_figures()))
