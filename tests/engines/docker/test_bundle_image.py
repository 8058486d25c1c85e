"""The image of a bundle."""

import pytest

from mlops_helpers.deploy import bundle_image, release_source
from mlops_helpers.deploy.docker_engine import engine
from mlops_helpers.deploy.images import INPUTS, build_service_image
from tests.support.shop import make_shop

pytestmark = pytest.mark.timeout(400)  # the first one builds the image


def test_image_of_a_bundle_is_named_by_its_code_and_is_not_taken_for_the_services(tmp_path):
    shop, source = make_shop(tmp_path / "shop"), release_source.copy(tmp_path / "source")
    service = build_service_image()
    bundle = shop.made(source)
    names = [bundle_image.build_bundle_image(bundle) for _ in range(2)]
    try:
        assert names[0] == names[1]
        assert build_service_image().id == service.id
        assert bundle_image.build_bundle_image(shop.champion) == names[0]  # another model, the same code
        with engine() as client:
            labels = client.images.get(names[0]).labels
            said = client.containers.run(
                names[0],
                ["-c", "import text_utility; print(text_utility.clean('\u03a4\u03b9'))"],
                entrypoint="python3",
                remove=True,
                network_mode="none",
            )
        assert said.decode().strip() == "ti"
        assert labels[INPUTS] == names[0].rpartition(":")[2]
    finally:
        with engine() as client:
            for name in set(names):
                client.images.remove(name)
