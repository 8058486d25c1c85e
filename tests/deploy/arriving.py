"""Comments that arrive all the time while something else happens."""

import contextlib
import threading

from mlops_helpers.deploy.calls import call
from mlops_helpers.errors import ServiceError

TEXT = "Check out my NEW channel!!! http://www.example.com/x?y=1"


@contextlib.contextmanager
def comments_arrive(address, senders=1):
    """Send comments to a gateway; give the list of answers, which grows. In the end none of them has failed."""
    failed, answered, done = [], [], threading.Event()

    def send():
        while not done.wait(0.005):  # the machine has other things to do
            try:
                comment = {"id": f"c{len(answered)}", "text": TEXT}
                answered.append(call("POST", address, "/v1/classify", comment))
            except ServiceError as error:
                failed.append(error)

    threads = [threading.Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert answered
