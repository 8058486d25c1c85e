"""A shop: a store, the shipped pipeline with a shorter load, and the bundle of the release that serves."""

from types import SimpleNamespace

from mlops_helpers.deploy import bundle as bundles
from mlops_helpers.deploy import stages
from mlops_helpers.deploy.gates import Target
from mlops_helpers.deploy.pipeline import run
from mlops_helpers.deploy.pipeline_store import Store
from mlops_helpers.deploy.problems_harm import earlier, unguarded


def make_shop(folder) -> SimpleNamespace:
    """Return ``store``, ``pipeline``, ``champion``, ``target``, and ``made`` that makes a bundle of a source."""
    shipped = stages.SHIPPED.read_text("utf-8")
    store = Store(folder / "store")
    assert "seconds: 2" in shipped  # chapter 07 shortens it in the same way
    assert "fast: 0.99" in shipped
    pipeline = stages.parse(shipped.replace("seconds: 2", "seconds: 1").replace("fast: 0.99", "fast: 0.95"))

    def made(source):
        return bundles.load(run(unguarded(pipeline), source, store=store, end="package").bundle)

    champion = made(earlier(folder / "earlier"))
    target = Target(champion=champion, remaining=0.5)
    return SimpleNamespace(store=store, pipeline=pipeline, made=made, champion=champion, target=target)
