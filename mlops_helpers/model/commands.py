"""The commands of this room: ``opslab data``."""

import argparse

__all__ = ["data", "data_arguments"]


def data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab data``."""
    parser.add_argument("source", nargs="+", help="simulated, youtube, sms, or the path of a CSV file")
    parser.epilog = "A corpus is downloaded once, by pinned hash, or read from the folder in MLOPS_DATA_DIR."


def data(args: argparse.Namespace) -> int:
    """Load comments (downloading them if need be), and print what was found and done on the way."""
    from mlops_helpers.model.data import load

    for source in args.source:
        comments = load(source)
        print(f"{source}: {comments.report}")
        print(f"content hash {comments.sha256}\n{comments.citation}\n")
    return 0
