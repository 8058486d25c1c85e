"""A drill that the grader runs with a student's responder, and its signed journal."""

import copy
import json

from mlops_helpers.teach import grading_drill

KEY = b"k" * 32


def test_a_responder_who_looks_and_acts_passes(tmp_path):
    looked = []

    def respond(sight):
        looked.append(copy.deepcopy(sight))
        stopped = [name for name, state in sight["services"].items() if state == "stopped"]
        return {"diagnosis": sight["causes"][0], "steps": [{"do": "restart", "name": name} for name in stopped]}

    drilled = grading_drill.drill_with(respond, "gateway-stopped", tmp_path, KEY, 5, student="student-01")
    assert drilled.passed, drilled.reason
    assert looked[0]["slis"]["honest_published"] < looked[0]["tolerances"]["honest_published"]
    assert json.loads(json.dumps(looked)) == looked
    records = grading_drill.verified(drilled.journal, KEY, student="student-01")
    assert records[-1]["kind"] == "closed"
    assert any(record["kind"] == "acted" and record["arguments"] == {"name": "gateway"} for record in records)
