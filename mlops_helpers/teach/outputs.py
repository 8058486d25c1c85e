"""What is kept of one cell's output: streams in one piece each, and no more text than a reader or a page can bear.

A cell may print without end. Its text is therefore cut while its messages arrive, so that memory stays bounded too.
Standard output, standard error and everything displayed have a limit each: the two streams arrive in any order, and
with one limit for both it would depend on chance what is kept.
"""

from collections.abc import MutableMapping
from typing import Any

from nbformat import NotebookNode
from nbval.plugin import coalesce_streams

__all__ = ["TEXT_LIMIT", "Kept"]

TEXT_LIMIT = 1_000_000  # characters: of each stream of a cell, and of what it displays
ERROR_LIMIT = 10_000  # characters of an error's message, and of each part of its traceback: they are printed too
DISPLAYED = "display"  # one limit for results, displays and the error
PLAIN = "text/plain"


class Kept:
    """The text of one cell as it arrives, up to the limit; what is beyond is only counted."""

    def __init__(self) -> None:
        self._streams: dict[str, list[str]] = {}
        self._room: dict[str, int] = {}
        self._cut: dict[str, int] = {}

    @property
    def cut(self) -> int:
        """The number of characters that were left out."""
        return sum(self._cut.values())

    def stream(self, name: str, text: str) -> bool:
        """Take in a piece of a stream; True when it is the stream's first (pieces are put together in ``merge``)."""
        first = name not in self._streams
        pieces = self._streams.setdefault(name, [])
        if kept := self._fitting(name, text):
            pieces.append(kept)
        return first

    def shorten(self, kind: str, content: MutableMapping[str, Any]) -> None:
        """Shorten the text in a message's content where it stands: of an error, a result or a display."""
        if kind == "error":
            content["traceback"] = [self._shortened(part, ERROR_LIMIT) for part in content["traceback"]]
            content["evalue"] = self._shortened(content["evalue"], ERROR_LIMIT)
        data = content.get("data", {})
        for mime in sorted(data, key=lambda mime: mime != PLAIN):
            if not isinstance(data[mime], str) or not (mime.startswith("text/") or mime == "image/svg+xml"):
                continue
            if mime == PLAIN:
                data[mime] = self._shortened(data[mime])
            elif len(data[mime]) > self._room.get(DISPLAYED, TEXT_LIMIT):
                # Half a table or drawing would spoil the page around it.
                left_out = data.pop(mime)
                self._cut[DISPLAYED] = self._cut.get(DISPLAYED, 0) + len(left_out)
                data[PLAIN] = f"{data.get(PLAIN, '')}\n{_note(len(left_out), f' of {mime}')}".lstrip()
            else:
                self._fitting(DISPLAYED, data[mime])

    def merge(self, outputs: list[NotebookNode]) -> list[NotebookNode]:
        """Return the cell's outputs with each stream in one piece, standard output before standard error.

        nbval's merging, which also drops what a carriage return overwrote; not nbclient's, which takes hours for
        a line of a million characters and lets no other thread run meanwhile.
        """
        for output in outputs:
            if output.output_type == "stream":
                output.text += "".join(self._streams.pop(output.name, []))
        merged = coalesce_streams(outputs)
        for output in merged:
            if output.output_type == "stream" and (cut := self._cut.get(output.name)):
                output.text = f"{output.text.rstrip()}\n{_note(cut)}\n"
        for place in range(len(merged) - 1):
            if [output.get("name") for output in merged[place : place + 2]] == ["stderr", "stdout"]:
                merged[place], merged[place + 1] = merged[place + 1], merged[place]
        return merged

    def _fitting(self, kind: str, text: str, limit: int | None = None) -> str:
        room = self._room.get(kind, TEXT_LIMIT)
        kept = text[: room if limit is None else min(room, limit)]
        self._room[kind] = room - len(kept)
        if len(kept) < len(text):
            self._cut[kind] = self._cut.get(kind, 0) + len(text) - len(kept)
        return kept

    def _shortened(self, text: str, limit: int | None = None) -> str:
        kept = self._fitting(DISPLAYED, text, limit)
        return kept if len(kept) == len(text) else f"{kept}\n{_note(len(text) - len(kept))}"


def _note(characters: int, what: str = "") -> str:
    return f"[opslab: {characters:,} more characters{what} were cut]"
