"""What holds on every runtime, on the embedded one: processes."""

from tests.support.runtime_contract import RuntimeContract


class TestProcess(RuntimeContract):
    kind = "process"
