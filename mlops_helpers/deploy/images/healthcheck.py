"""Is the service of this container ready? Exit code 0 when it says so. This runs every second: it imports little."""

import socket
import sys

__all__: list[str] = []

with socket.create_connection(("127.0.0.1", 8080), timeout=1.5) as connection:
    connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    sys.exit(b" 200 " not in connection.recv(100))
