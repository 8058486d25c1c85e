"""The command ``opslab image``: the base image, the wheels and the image of the services."""

import argparse
from pathlib import Path

from mlops_helpers.deploy import base_image, images, wheels

__all__ = ["image", "image_arguments"]


def image_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab image``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    base = actions.add_parser("base", help=f"make {base_image.BASE_IMAGE} without a registry (once, as root)")
    base.add_argument("--tarball", type=Path, help="of another machine's cache, instead of making one")
    base.set_defaults(act=_base)
    fetch = actions.add_parser("wheels", help="download the packages of filter, gateway and blog")
    fetch.add_argument("--folder", type=Path, help="where to (default: wheels/service in the cache)")
    fetch.set_defaults(act=_wheels)
    build = actions.add_parser("build", help="build the image of filter, gateway and blog")
    build.add_argument("--name", default=images.SERVICE_IMAGE, help="its name (default: %(default)s)")
    build.add_argument("--base", default=base_image.BASE_IMAGE, help="the base image (default: %(default)s)")
    build.add_argument("--wheels", type=Path, help="folder of packages (default: they are downloaded, once)")
    build.set_defaults(act=_build)


def image(args: argparse.Namespace) -> int:
    """Do what ``args.action`` says, and print what there is now."""
    print(args.act(args))
    return 0


def _base(args: argparse.Namespace) -> str:
    return f"{base_image.BASE_IMAGE} is {base_image.base_image(args.tarball)}"


def _wheels(args: argparse.Namespace) -> str:
    return f"{len(wheels.SERVICE)} wheels in {wheels.download(args.folder)}"


def _build(args: argparse.Namespace) -> str:
    built = images.build_service_image(args.name, base=args.base, wheels=args.wheels)
    return f"{built.name} is {built.id}, {built.added_bytes / 1e6:.0f} MB over {args.base}"
