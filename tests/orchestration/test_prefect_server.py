"""Prefect's server with our profile: a real one, with raw requests like those of pages, other users and our
programs.
"""

import base64
import json
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient

from stenopool.orchestration.deploy.server import settings
from stenopool.orchestration.prefect_server import PASSWORD_FILE, keep_password, make_command, make_password
from stenopool.runtime.network import Address
from stenopool.runtime.processes import end, spawn
from tests.support.browser import needs_chromium
from tests.support.processes import without_prefect
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVIL = {"Origin": "https://evil.example"}
JSON = {"Content-Type": "application/json"}


class Guarded:
    """One server on a free port of loopback, with a password."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.password = make_password()
        with Address("127.0.0.1", 0).listen() as listening:
            self.port = listening.getsockname()[1]
            self.process = spawn(
                make_command(listening),
                env={
                    **without_prefect(),
                    **environment,
                    "PREFECT_HOME": str(home),
                    "PREFECT_SERVER_API_AUTH_STRING": self.password,
                    "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'stenopool.db'}",
                },
                pass_fds=[listening.fileno()],
            )
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(self.password.encode()).decode()}"}

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> int:
        """Send exactly these headers, with Host unless they name one; return the status."""
        headers = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall("\r\n".join(lines).encode() + body)
            return int(connection.makefile("rb").readline().split()[1])

    def flows(self) -> list[str]:
        with SyncPrefectClient(f"{self.url}/api", auth_string=self.password) as client:
            return [flow.name for flow in client.read_flows()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("guarded"), settings(redis=False))
    try:
        wait_until(made.answers, "the server", seconds=120, process=made.process)
        yield made
    finally:
        end(made.process, 10)


@pytest.mark.parametrize("path", ["flows/filter", "flows/", "automations/", "work_pools/filter", "block_types/filter"])
def test_without_the_password_nothing_is_done(path: str, server: Guarded) -> None:
    wrong = {"Authorization": f"Basic {base64.b64encode(b'stenopool:wrong').decode()}"}
    for headers in (JSON, JSON | wrong, {}):
        assert server.send("POST", f"/api/{path}", headers, b'{"name": "evil"}') == 401
    assert server.send("GET", "/api/admin/settings", {}) == 401


# By name: the request of a browser for another site's page, or of another user's program.
FOREIGN: dict[str, tuple[dict[str, str], int]] = {
    "no content type": ({}, 401),
    "no content type, by a page": (EVIL, 403),
    "a form": ({"Content-Type": "text/plain"}, 401),
    "JSON by a page": (EVIL | JSON, 403),
    "a file or a sandboxed frame": ({"Origin": "null"} | JSON, 403),
    "a page of another port": ({"Origin": "http://127.0.0.1:1"} | JSON, 403),
    "a page under another of our names": ({"Origin": "http://localhost:4200"} | JSON, 403),
    "an invalid origin": ({"Origin": "http://["} | JSON, 403),
    "a name that resolves to this machine": ({"Host": "evil.example:4200"} | JSON, 403),
    "and its own page": ({"Host": "evil.example:4200", "Origin": "http://evil.example:4200"} | JSON, 403),
    "a public name of loopback": ({"Host": "127.0.0.1.nip.io"} | JSON, 403),
    "an invalid host": ({"Host": "["} | JSON, 403),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_pages_of_other_sites_change_nothing(case: str, server: Guarded) -> None:
    headers, status = FOREIGN[case]
    assert server.send("POST", "/api/flows/", headers, b'{"name": "evil"}') == status
    if status == 403:  # the second barrier also holds for a caller who knows the password
        assert server.send("POST", "/api/flows/", headers | server.authorization, b'{"name": "evil"}') == 403
        assert server.send("GET", "/api/health", headers) == 403
    assert "evil" not in server.flows()


@pytest.mark.parametrize("way", ["/api/events/in", "/api/events/out", "/api/logs/out"])
def test_websockets_are_behind_both_barriers(way: str, server: Guarded) -> None:
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect
    from websockets.typing import Origin, Subprotocol

    address, prefect = f"ws://127.0.0.1:{server.port}{way}", [Subprotocol("prefect")]
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, subprotocols=prefect, origin=Origin("https://evil.example"))
    with pytest.raises(InvalidStatus, match="403"):
        connect(address)
    for token, taken in (("wrong", False), (server.password, True)):
        with connect(address, subprotocols=prefect) as connection:
            connection.send(json.dumps({"type": "auth", "token": token}))
            if taken:
                assert json.loads(connection.recv(30)) == {"type": "auth_success"}
            else:
                with pytest.raises(ConnectionClosed):
                    connection.recv(30)


def test_prefects_client_and_other_programs_work_with_the_password(server: Guarded) -> None:
    with SyncPrefectClient(f"{server.url}/api", auth_string=server.password) as client:
        client.create_flow_from_name("by the client")
    own = {"Origin": server.url, "Content-Type": "application/json"}
    assert server.send("POST", "/api/flows/", own | server.authorization, b'{"name": "by the page"}') == 201
    localhost = {"Host": f"localhost:{server.port}"} | JSON | server.authorization
    assert server.send("POST", "/api/flows/", localhost, b'{"name": "by hand"}') == 201
    assert {"by the client", "by the page", "by hand"} <= set(server.flows())


def test_the_password_is_in_no_command_line(server: Guarded) -> None:
    assert server.password.encode() not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()


@needs_chromium
def test_prefects_page_asks_once_for_the_password(server: Guarded, browser: "Browser") -> None:
    assert server.send("POST", "/api/flows/", JSON | server.authorization, b'{"name": "shown on the page"}') == 201
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(server.url)
        page.get_by_role("heading", name="Login").wait_for(timeout=60_000)
        page.locator("input[type=password]").fill(server.password)
        page.get_by_role("button", name="Login").click()
        page.wait_for_url("**/dashboard")
        page.goto(f"{server.url}/flows")
        page.get_by_text("shown on the page").wait_for()
        assert page.locator("input[type=password]").count() == 0
    finally:
        context.close()


def test_a_password_is_created_once_and_readable_only_by_its_user(tmp_path: Path) -> None:
    file = keep_password(tmp_path / "home")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    user, _, word = file.read_text().strip().partition(":")
    assert (user, len(word)) == ("stenopool", 32)
    assert keep_password(tmp_path / "home").read_text() == file.read_text()
    assert make_password() != make_password()
    assert [one.name for one in file.parent.iterdir()] == [PASSWORD_FILE]


@pytest.mark.parametrize("fault", ["others read it", "it is empty", "it is a link", "it is another user's"])
def test_an_unsafe_password_file_is_replaced(fault: str, tmp_path: Path) -> None:
    file, known = tmp_path / PASSWORD_FILE, "stenopool:known"
    file.write_text("" if fault == "it is empty" else known)
    file.chmod(0o644 if fault == "others read it" else 0o600)
    if fault == "it is a link":
        shutil.move(file, tmp_path / "theirs")
        file.symlink_to(tmp_path / "theirs")
    if fault == "it is another user's":
        if os.getuid():
            pytest.skip("only root can make one")
        os.chown(file, 10001, 0)
    assert keep_password(tmp_path) == file
    assert known not in file.read_text()
    assert ":" in file.read_text()
    assert stat.S_IMODE(file.lstat().st_mode) == 0o600
    assert file.stat().st_uid == os.getuid()
    assert file.is_file()
    assert not file.is_symlink()
