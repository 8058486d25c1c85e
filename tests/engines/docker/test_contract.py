"""What holds on every runtime, on Docker; and nothing is left of it."""

import pytest

from tests.support.runtime_contract import ContainerContract

pytestmark = pytest.mark.timeout(400)  # the first one builds the image


class TestDocker(ContainerContract):
    kind = "docker"
