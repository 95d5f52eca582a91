"""The files in deploy/: what reads them accepts them, and what they start exists."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from openclore.api.hostlink import LINK_PATH
from openclore.api.open.endpoints import OPEN_PATH
from openclore.cli.main import app
from openclore.server.settings import load

DEPLOY = Path(__file__).parent.parent / "deploy"
PROGRAM = Path(sys.executable).parent / "openclore"


def run(*words: str, **options: Any) -> str:
    """What a program says; it must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, **options)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_the_settings_file_is_one() -> None:
    loaded = load(DEPLOY / "market.toml", {}, {})
    assert loaded.public_url == "https://market.example.org"


def test_the_environment_of_a_unit_names_settings() -> None:
    lines = (DEPLOY / "market.env.example").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    loaded = load(None, variables, {})
    assert loaded.database.startswith("postgresql+psycopg://")
    assert loaded.valkey_url.startswith("redis://")


def nginx_accepts(folder: Path, upstream: str) -> None:
    """`nginx -t` on the public site, its absolute paths led into a folder."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl is not installed")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=market"
    run(openssl, *words.split(), "-keyout", "privkey.pem", "-out", "fullchain.pem", cwd=folder)
    site = (DEPLOY / "nginx" / "openclore.conf").read_text()
    site = site.replace("/etc/nginx/tls", str(folder))
    site = site.replace("/etc/nginx/openclore-proxy.conf", str(DEPLOY / "nginx" / "proxy.conf"))
    whole = f"pid {folder}/pid; error_log stderr; events {{}} http {{ {upstream}\n{site} }}"
    (folder / "nginx.conf").write_text(whole)
    said = run(nginx, "-t", "-p", str(folder), "-c", str(folder / "nginx.conf"))
    assert "warn" not in said


def test_nginx_accepts_the_public_site(tmp_path: Path) -> None:
    nginx_accepts(tmp_path, (DEPLOY / "nginx" / "upstream.conf").read_text())


def test_nginx_accepts_the_public_site_of_compose(tmp_path: Path) -> None:
    """Older ones do not know `resolve`, and none finds the name outside."""
    upstream = (DEPLOY / "nginx" / "upstream-compose.conf").read_text()
    nginx_accepts(tmp_path, upstream.replace("market:8080 resolve", "127.0.0.1:8080"))


def test_the_proxy_knows_what_stays_open() -> None:
    proxy = (DEPLOY / "nginx" / "proxy.conf").read_text()
    for path in (LINK_PATH, f"{OPEN_PATH}/events/stream"):
        assert f"location = {path} {{" in proxy


def test_the_units_are_units_and_start_a_command_that_exists(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text().replace("/opt/openclore/bin/openclore", str(PROGRAM))
        # What others bring is not there.
        (tmp_path / unit.name).write_text(text.replace("Requires=docker.service\n", ""))
        (tmp_path / unit.name).chmod(0o644)  # whatever the umask is
    (tmp_path / "openclore@8081.service").symlink_to(tmp_path / "openclore@.service")
    for name in ("openclore@8081.service", "openclore.target", "openclore-host.service"):
        said = run("systemd-analyze", "verify", "--man=no", str(tmp_path / name))
        assert str(tmp_path) not in said


@pytest.mark.parametrize("unit", ["openclore@.service", "openclore-host.service"])
def test_what_a_unit_starts_takes_its_options(unit: str) -> None:
    lines = (DEPLOY / "systemd" / unit).read_text().splitlines()
    started = next(line.split()[1:] for line in lines if line.startswith("ExecStart="))
    takes_its_options(started)


def test_compose_starts_commands_that_exist_with_files_that_exist() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"market", "postgres", "valkey", "nginx"}
    market = services["market"]
    takes_its_options(market["command"])
    load(None, {name: value for name, value in market["environment"].items() if "$" not in value}, {})
    assert (DEPLOY / market["build"]["context"] / market["build"]["dockerfile"]).is_file()
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./") and source != "./tls":
                assert (DEPLOY / source).is_file(), source


def test_the_image_takes_what_the_build_needs() -> None:
    root = DEPLOY.parent
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    copied = ["pyproject.toml", "uv.lock", "README.md", "LICENSE", "src"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for name in copied:
        assert f"!{name}" in kept
        assert name in dockerfile
        assert (root / name).exists()


def takes_its_options(words: list[str]) -> None:
    """Every option that `openclore WORDS` names is one of the command's."""
    named = {word for word in words if word.startswith("--")}
    page = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "200"}).output
    assert named
    assert all(option in page for option in named)
