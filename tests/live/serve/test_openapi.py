"""What the filter says of itself holds: requests made from its own description, well-formed ones and broken ones."""

import copy

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from mlops_helpers.serve.filter import make_filter
from mlops_helpers.serve.scoring import ServedModel
from mlops_helpers.serve.server import serving


@pytest.fixture(scope="module")
def address(artifact, tmp_path_factory):
    with serving(make_filter(ServedModel.of("v1", artifact), tmp_path_factory.mktemp("openapi") / "log")) as running:
        yield f"http://{running}"


@pytest.mark.parametrize(
    ("path", "method", "mode", "examples"),
    [
        ("/v1/classify", "POST", GenerationMode.POSITIVE, 30),
        ("/v1/classify", "POST", GenerationMode.NEGATIVE, 40),
        ("/healthz", "GET", GenerationMode.POSITIVE, 2),
        ("/readyz", "GET", GenerationMode.POSITIVE, 2),
        ("/version", "GET", GenerationMode.POSITIVE, 2),
    ],
)
def test_filter_answers_requests_made_from_its_description_as_described(
    path: str, method: str, mode: GenerationMode, examples: int, address: str
) -> None:
    """Status, media type and body are those described; what breaks the description is refused."""
    operation = schemathesis.openapi.from_url(f"{address}/openapi.json")[path][method]
    asked = 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(timeout=20)

    ask()
    assert asked


def test_wrong_description_is_noticed(address: str) -> None:
    described = copy.deepcopy(schemathesis.openapi.from_url(f"{address}/openapi.json").raw_schema)
    described["paths"]["/version"]["get"]["responses"]["200"]["content"]["application/json"]["schema"] = {
        "type": "array"
    }
    case = schemathesis.openapi.from_dict(described)["/version"]["GET"].Case()
    with pytest.raises(FailureGroup):
        case.call_and_validate(base_url=address)
