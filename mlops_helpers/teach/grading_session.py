"""One execution of a submission, from the grader's side: requests, answers that nobody has to believe, and limits.

Whatever arrives is read here by our own decoder, bounded in size, depth and number; what does not answer the request is
left alone. A limit that is passed ends all processes of the submission at once.
"""

import contextlib
import json
import os
import secrets
import select
import selectors
import signal
import time
from typing import Any

from mlops_helpers.teach.grading_sandbox import Limits, Sandbox, SandboxLost

__all__ = ["Ended", "Session", "UnusableAnswer", "checked"]

_TICK_SECONDS = 0.05  # between two looks at what the submission uses
_MOST_STRAYS = 100  # messages that answer nothing
_DEEPEST = 50
_ENDING_SECONDS = 10.0
_CLOSED_SECONDS = 1.0  # from the end of the channel to that of the processes, where these end


class Ended(Exception):
    """The submission's processes have ended; the message says why, as the rest of a sentence."""


class UnusableAnswer(Exception):
    """An answer came that is no data; the message says what is wrong with it."""


class Session:
    """The processes of one execution, which have executed the lab's opening where ``opened``.

    ``deadline`` (``time.monotonic``) is that of the whole submission.
    ``printed`` counts what they printed, ``strays`` the messages that answered nothing.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits, deadline: float, opened: bool = False) -> None:
        self._confined, self._limits, self._deadline = sandbox.confined, limits, deadline
        self._forked = sandbox.fork(opened)
        self._ended = ""
        self._buffer = b""
        self._looked = time.monotonic()
        self.printed = 0
        self.strays = 0
        self._base = _memory(self._forked.pid)
        self._forked.channel.setblocking(False)
        os.set_blocking(self._forked.output, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._forked.channel, selectors.EVENT_READ)
        self._selector.register(self._forked.output, selectors.EVENT_READ)
        self._selector.register(self._forked.process, selectors.EVENT_READ)

    @property
    def ended(self) -> str:
        """Why it has ended, or ``""``."""
        return self._ended

    @property
    def process(self) -> int:
        """The descriptor of its process 1, by which its namespaces can be entered."""
        return self._forked.process

    def request(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one request and return the answer to it.

        Raises :class:`Ended` when the processes end, by themselves or by a limit (``seconds`` is one), and
        :class:`UnusableAnswer`.
        """
        number = secrets.token_hex(8)
        ahead = json.dumps(message | {"id": number}).encode() + b"\n"
        now = time.monotonic()
        until = min(now + seconds, self._deadline)
        over = f"took longer than {seconds:g} s" if until < self._deadline else self._all_time()
        while not self._ended:
            ahead = self._send(ahead)
            gone = self._take_in(bool(ahead))
            while b"\n" in self._buffer and not self._ended:
                line, _, self._buffer = self._buffer.partition(b"\n")
                answer = self._understood(line, number)
                if answer is not None:
                    return answer
            if gone:
                self.end("ended its process (by an exit, a crash, or more memory than there is for it)")
            elif time.monotonic() >= until:
                self.end(over)
            else:
                self._watch()
        raise Ended(self._ended)

    def _all_time(self) -> str:
        return f"used up the {self._limits.seconds:g} s of the whole submission"

    def _send(self, ahead: bytes) -> bytes:
        try:
            return ahead[self._forked.channel.send(ahead) :] if ahead else b""
        except BlockingIOError:
            return ahead
        except OSError:  # nobody listens: the end of its process is told otherwise
            return b""

    def _take_in(self, sending: bool) -> bool:
        """Wait a little, read what has come, and say whether the processes have ended."""
        channel = self._forked.channel
        self._selector.modify(channel, selectors.EVENT_READ | (selectors.EVENT_WRITE if sending else 0))
        ready = {key.fileobj for key, _ in self._selector.select(_TICK_SECONDS)}
        gone = self._forked.process in ready
        if self._forked.output in ready:
            printed = os.read(self._forked.output, 1 << 20)
            self.printed += len(printed)
            if not printed:  # they have closed it
                self._selector.unregister(self._forked.output)
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            data = channel.recv(1 << 20)
            self._buffer += data
            if not data and not gone and not (gone := _wait(self._forked.process, _CLOSED_SECONDS)):
                self.end("closed the channel by which it is asked")
        if len(self._buffer) > self._limits.message + 4096:
            self.end(f"answered with more than {self._limits.message} bytes")
        return gone

    def _understood(self, line: bytes, number: str) -> dict[str, Any] | None:
        """Return the answer to the request; None when it is something else."""
        try:
            answer = json.loads(line.decode())
            if isinstance(answer, dict) and answer.get("id") == number:
                return checked(answer)
        except RecursionError as error:
            raise UnusableAnswer("data that is nested too deeply") from error
        except ValueError:
            pass
        self.strays += 1
        if self.strays > _MOST_STRAYS:
            self.end("wrote to the grader's channel, again and again")
        return None

    def _watch(self) -> None:
        import psutil

        now = time.monotonic()
        if self._ended or now - self._looked < _TICK_SECONDS:
            return
        self._looked = now
        try:
            pids = [child.pid for child in psutil.Process(self._forked.pid).children(recursive=True)]
        except psutil.Error:
            return
        if len(pids) > 2 * self._limits.processes:
            self.end(f"started more than {self._limits.processes} processes")
        used = sum(max(0, _memory(pid) - self._base) for pid in pids)
        if used > self._limits.memory:
            self.end(f"used more than {self._limits.memory >> 20} MB of memory")

    def end(self, why: str = "was ended") -> None:
        """End all its processes and wait until they are gone; safe twice.

        Raises ``SandboxLost`` when they do not go.
        """
        if self._ended:
            return
        self._ended = why
        if not self._confined:
            _end_below(self._forked.pid)  # process 1 then ends by itself, when it has ended what was left
            _wait(self._forked.process, _ENDING_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._forked.process, signal.SIGKILL)
        self._selector.close()
        gone = _wait(self._forked.process, _ENDING_SECONDS)
        self._forked.channel.close()
        os.close(self._forked.output)
        os.close(self._forked.process)
        if not gone:
            raise SandboxLost("the processes of a submission do not end")


def _wait(process: int, seconds: float) -> bool:
    return bool(select.select([process], [], [], seconds)[0])


def _end_below(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _memory(pid: int) -> int:
    """Bytes that a process holds for itself, or shares with those it was forked from; not those of files."""
    try:
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
            fields = dict(line.split(":", 1) for line in file)
    except OSError:  # gone meanwhile
        return 0
    return sum(int(fields[name].split()[0]) << 10 for name in ("RssAnon", "RssShmem") if name in fields)


def checked(value: Any, depth: int = 0) -> Any:
    """Return the value when it is data that a check can work with: bounded in depth, text that is Unicode.

    Raises :class:`UnusableAnswer` otherwise.
    """
    if depth > _DEEPEST:
        raise UnusableAnswer("data that is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            checked(key)
            checked(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            checked(item, depth + 1)
    elif isinstance(value, str) and not _is_unicode(value):
        raise UnusableAnswer("text that is not valid Unicode")
    return value


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
