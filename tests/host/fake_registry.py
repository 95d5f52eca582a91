"""An image registry on loopback with one small image, real enough for a Docker Engine to pull from."""

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class FakeRegistry:
    """`path` is pulled with `credentials` ("user:password"), where given; `breakdowns` answers fail first."""

    def __init__(self, root: bytes, credentials: str = "", breakdowns: int = 0) -> None:
        self.credentials = credentials
        self.breakdowns = breakdowns
        self.stalled = threading.Event()
        self.stall = False
        self.release = threading.Event()
        layer = gzip.compress(root, mtime=0)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/busybox", "sleep", "1000"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(root)]},
        }
        self.blobs = {digest(blob): blob for blob in (layer, json.dumps(config).encode())}
        config_digest = digest(json.dumps(config).encode())
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": CONFIG,
                    "size": len(self.blobs[config_digest]),
                    "digest": config_digest,
                },
                "layers": [{"mediaType": LAYER, "size": len(layer), "digest": digest(layer)}],
            }
        ).encode()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The registry's address, as the first part of an image name."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.answer(self)

            do_HEAD = do_GET  # noqa: N815 - the name that the base class calls

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            self.release.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        expected = "Basic " + base64.b64encode(self.credentials.encode()).decode()
        if self.credentials and request.headers.get("Authorization") != expected:
            errors = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
            reply(request, 401, json.dumps(errors).encode(), **{"WWW-Authenticate": 'Basic realm="test"'})
        elif request.path == "/v2/":
            reply(request, 200, b"{}")
        elif self.breakdowns:
            self.breakdowns -= 1
            reply(request, 503, b"{}")
        elif request.path in (
            "/v2/some/image/manifests/1",
            f"/v2/some/image/manifests/{digest(self.manifest)}",
        ):
            headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest(self.manifest)}
            reply(request, 200, self.manifest, **headers)
        elif blob := self.blobs.get(request.path.rpartition("/")[2]):
            if self.stall:
                self.stalled.set()
                self.release.wait(30)
            reply(request, 200, blob)
        else:
            errors = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            reply(request, 404, json.dumps(errors).encode())


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    headers = {"Content-Type": "application/json", **headers}
    try:
        request.send_response(status)
        request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)
    except OSError:
        request.close_connection = True


def digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()
