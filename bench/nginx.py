"""The peer of the marketplace reply: nginx, which sends bytes that are compressed already, from a file."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .peers import program
from .processes import free_port, running_program, wait_for_answer

CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=10;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    types {{ }} default_type application/json; gzip_static always;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""
"""One worker, as ours is one process."""


@contextmanager
def serving_file(path: str, gzipped: bytes) -> Iterator[int]:
    """The port on which nginx answers the path with these bytes.

    Raises:
        Missing: nginx is not installed.
    """
    nginx, port = program("nginx"), free_port()
    with tempfile.TemporaryDirectory(prefix="openclore-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user
        file = folder / f"{path.lstrip('/')}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzipped)
        configuration = folder / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, port=port))
        with running_program(nginx, "-e", "stderr", "-c", str(configuration), "-p", str(folder)) as process:
            wait_for_answer(process, port, path)
            yield port
