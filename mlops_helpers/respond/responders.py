"""Who responds when nobody sits there: by what a scenario has written down, or not at all."""

from mlops_helpers.respond.operator import Operator
from mlops_helpers.respond.scenario import Responder

__all__ = ["NOTHING", "respond"]

NOTHING = Responder("do nothing", ())
_PAGE_SECONDS = 12.0


def respond(responder: Responder, hands: Operator, *, page: bool) -> None:
    """Do what a responder does; with ``page`` it begins when the pager rings, else with the report that came in."""
    if responder is NOTHING:
        return
    if page:
        hands.wait_for_page(_PAGE_SECONDS)
    hands.acknowledge()
    if responder.tells:
        hands.tell("We have seen that something is wrong, and look into it.")
    hands.status()
    if responder.diagnosis:
        hands.diagnose(responder.diagnosis)
    for action, arguments in responder.steps:
        hands.act(action, **arguments)
    hands.resolve(f"done: {', '.join(action for action, _ in responder.steps) or 'nothing was to be done'}")
