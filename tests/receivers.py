"""Webhook receivers, good and bad: a real HTTP server on loopback that behaves as the path says."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MANNERS = ("ok", "fail", "gone", "redirect", "garbage", "hang", "drip", "endless", "hang_up", "chatty")
PAUSE_SECONDS = 0.05


@dataclass
class Message:
    """What came in, headers in small letters."""

    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Receiver:
    """`manners` overrules what a path says; what hangs goes on once `released`."""

    port: int
    messages: list[Message] = field(default_factory=list)
    manners: dict[str, str] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/{path}"

    def ids(self, path: str) -> list[str]:
        return [message.headers["webhook-id"] for message in self.messages if message.path == f"/{path}"]


@contextmanager
def a_receiver(certificate: Path | None = None) -> Iterator[Receiver]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.receiver = Receiver(server.server_address[1])
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.receiver
    finally:
        server.receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    receiver: Receiver
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Senders that hang up are none."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.messages.append(Message(self.path, headers, body))
        path = self.path.strip("/").partition("?")[0]
        manner = receiver.manners.get(path, path)
        with suppress(OSError):
            getattr(self, f"_{manner}")(receiver)
        self.close_connection = True

    def _ok(self, receiver: Receiver) -> None:
        self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    def _fail(self, receiver: Receiver) -> None:
        self.wfile.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    def _gone(self, receiver: Receiver) -> None:
        self.wfile.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")

    def _redirect(self, receiver: Receiver) -> None:
        self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n")

    def _garbage(self, receiver: Receiver) -> None:
        self.wfile.write(b"\x00\xff\x13 this is not HTTP\r\n\r\n")

    def _hang(self, receiver: Receiver) -> None:
        receiver.released.wait()
        self._ok(receiver)

    def _drip(self, receiver: Receiver) -> None:
        """Headers without end, slowly."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not receiver.released.wait(PAUSE_SECONDS):
            self.wfile.write(b"X-More: and more\r\n")

    def _endless(self, receiver: Receiver) -> None:
        """A body without end, quickly."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while not receiver.released.is_set():
            self.wfile.write(b"x" * 65_536)

    def _chatty(self, receiver: Receiver) -> None:
        """A body without end, slowly."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not receiver.released.wait(PAUSE_SECONDS):
            self.wfile.write(b"1\r\nx\r\n")

    def _hang_up(self, receiver: Receiver) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
