"""What holds on every runtime, on Docker; and nothing is left of it."""

import pytest

from tests.support.docker_state import image, things
from tests.support.runtime_contract import RuntimeContract

pytestmark = pytest.mark.timeout(400)  # the first one builds the image

EXITS = 'ENTRYPOINT ["/bin/sh", "-c", "echo no model; exit 3"]'


class TestDocker(RuntimeContract):
    kind = "docker"

    def broken(self, platform, artifact, stack):
        return {"image": stack.enter_context(image(platform._filters._image, EXITS))}

    def test_nothing_is_left_of_a_platform(self, platform):
        assert any("container" in thing for thing in things(platform.folder))
        platform.down()
        platform.down()  # nothing more happens
        assert not [thing for thing in things(platform.folder) if "swarm" not in thing and "gwbridge" not in thing]
