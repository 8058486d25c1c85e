"""A Docker daemon that fails on demand: a proxy before the real one, on a socket of its own."""

import contextlib
import selectors
import socket
import threading


class Proxy:
    """Passes on what it gets, until a request contains ``trigger``: then it answers ``answer``, or is gone for good."""

    def __init__(self, path, trigger, answer=b""):
        self.address = f"unix://{path}"
        self.path, self._trigger, self._answer = path, trigger, answer
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self.cut = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while not self.cut.is_set():
                client, _ = self._server.accept()
                self._threads.append(threading.Thread(target=self._pass_on, args=(client,), daemon=True))
                self._threads[-1].start()

    def _pass_on(self, client):
        with client, socket.socket(socket.AF_UNIX) as daemon, selectors.DefaultSelector() as ready:
            daemon.connect("/var/run/docker.sock")
            ready.register(client, selectors.EVENT_READ, daemon)
            ready.register(daemon, selectors.EVENT_READ, client)
            with contextlib.suppress(OSError):
                while not self.cut.is_set():
                    for key, _ in ready.select(0.05):
                        if not (data := key.fileobj.recv(65536)):
                            return
                        if key.fileobj is client and self._trigger in data:
                            if not self._answer:
                                self.close()
                                return
                            client.sendall(self._answer)
                            return
                        key.data.sendall(data)

    def close(self):
        """Cut all connections; nobody listens any more."""
        self.cut.set()
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()


def refusal(status, message):
    """An HTTP answer of a daemon that refuses."""
    body = b'{"message": "%b"}' % message.encode()
    head = b"HTTP/1.1 %d Refused\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body
