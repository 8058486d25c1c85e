"""What holds on every runtime, on a swarm of one node; and nothing is left of it."""

import pytest

from tests.support.runtime_contract import ContainerContract

pytestmark = pytest.mark.timeout(400)  # the first one builds the image


class TestSwarm(ContainerContract):
    kind = "swarm"
