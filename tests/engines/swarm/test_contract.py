"""What holds on every runtime, on a swarm of one node; and nothing is left of it."""

import pytest

from tests.support.docker_state import image, things
from tests.support.runtime_contract import RuntimeContract

pytestmark = pytest.mark.timeout(400)  # the first one builds the image

EXITS = 'ENTRYPOINT ["/bin/sh", "-c", "echo no model; exit 3"]'


class TestSwarm(RuntimeContract):
    kind = "swarm"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def before(cls, tmp_path_factory):
        return things(tmp_path_factory.getbasetemp())

    def broken(self, platform, artifact, stack):
        return {"image": stack.enter_context(image(platform._filters._image, EXITS))}

    def test_nothing_is_left_of_a_platform(self, platform, before, tmp_path_factory):
        assert things(tmp_path_factory.getbasetemp()) != before
        platform.down()
        platform.down()  # nothing more happens
        assert things(tmp_path_factory.getbasetemp()) == before
