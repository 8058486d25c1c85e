"""What the record says to go back to."""

import pytest

from mlops_helpers.deploy.rollback import last_good
from mlops_helpers.errors import ParameterError

RECORD = [{"event": "switched", "serves": "v1"}, {"event": "canary_stage"}, {"event": "promoted", "serves": "v2"}]


def test_record_knows_what_to_go_back_to():
    assert last_good(RECORD) == "v2"
    assert last_good(RECORD, other_than="v2") == "v1"


@pytest.mark.parametrize(
    ("record", "other_than", "message"),
    [([], "", "missing or empty"), ([{"event": "canary_stage"}], "", "missing"), (RECORD[:1], "v1", "only v1 ever")],
)
def test_nothing_is_guessed_without_a_record(record, other_than, message):
    with pytest.raises(ParameterError, match=message):
        last_good(record, other_than=other_than)
