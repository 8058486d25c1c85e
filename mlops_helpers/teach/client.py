"""papermill's client, fitted to this course: nbval's tags, and a bounded amount of text a cell."""

from typing import Any

from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient

from mlops_helpers.teach.comparison import marks
from mlops_helpers.teach.outputs import Kept

__all__ = ["Client"]


class Client(PapermillNotebookClient):
    """papermill's client, which honours nbval's tags too and keeps a bounded amount of text a cell."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept = Kept()
        self.cut: dict[int, int] = {}  # cell -> characters left out

    def execute_cell(self, cell: NotebookNode, cell_index: int, **options: Any) -> NotebookNode:
        """Execute one cell as its tags ask."""
        asked = marks(cell) if cell.cell_type == "code" else {"skip": True}
        if asked["skip"]:
            return cell
        self.allow_errors = asked["check_exception"]
        self._kept = Kept()
        try:
            return super().execute_cell(cell, cell_index, **options)
        finally:
            cell.outputs = self._kept.merge(cell.outputs)
            if self._kept.cut:
                self.cut[cell_index] = self._kept.cut

    def output(self, outs: list[NotebookNode], msg: dict[str, Any], *place: Any) -> NotebookNode | None:
        """Keep one more output of the running cell (nbclient's hook)."""
        kind, content = msg["msg_type"], msg["content"]
        if not self.output_hook_stack[msg["parent_header"].get("msg_id")]:  # no widget takes it
            if self.clear_before_next_output:
                self._kept = Kept()
            if kind == "stream":
                if not self._kept.stream(content["name"], content["text"]):
                    return None
                content["text"] = ""  # the pieces follow when the cell has ended
        self._kept.shorten(kind, content)
        return super().output(outs, msg, *place)

    def clear_output(self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int) -> None:
        """Drop the cell's outputs so far (nbclient's hook)."""
        super().clear_output(outs, msg, cell_index)
        if not outs:
            self._kept = Kept()

    def process_message(self, *message: Any, **place: Any) -> NotebookNode | None:
        """Take in a message (nbclient's hook)."""
        msg = message[0] if message else place["msg"]
        if msg["msg_type"] == "update_display_data":  # it replaces what was displayed: a limit of its own
            Kept().shorten("display_data", msg["content"])
        return super().process_message(*message, **place)
