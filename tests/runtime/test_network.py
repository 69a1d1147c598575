"""Network addresses, including IPv6."""

import socket

import httpx
import pytest

from stenopool.runtime.network import Address, is_loopback, is_same_origin, names_this_machine
from tests.support.processes import free_port


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:9481", ("127.0.0.1", 9481), "http://127.0.0.1:9481"),
        ("0.0.0.0:9481", ("0.0.0.0", 9481), "http://127.0.0.1:9481"),
        ("[::1]:9481", ("::1", 9481), "http://[::1]:9481"),
        ("[::]:9481", ("::", 9481), "http://[::1]:9481"),
        ("localhost:80", ("localhost", 80), "http://localhost:80"),
    ],
)
def test_an_address_is_parsed_and_becomes_a_url(text: str, address: tuple[str, int], url: str) -> None:
    assert Address.parse(text) == address
    assert Address.parse(text).url == url
    assert httpx.URL(url).port in (address[1], None)


@pytest.mark.parametrize("text", ["", "0.0.0.0", ":80", "host:", "host:port", "[::1]"])
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Address.parse(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])
def test_only_one_process_can_listen(host: str) -> None:
    address = Address(host, free_port())
    with address.listen(), pytest.raises(OSError, match="in use"):
        address.listen()
    with address.listen() as listening, socket.create_connection(listening.getsockname()[:2]):
        pass


@pytest.mark.parametrize(
    ("host", "only_here"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("localhost.example.org", False), ("", False)],
)  # fmt: skip
def test_loopback_hosts_are_recognized(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1:4200", True), ("[::1]:4200", True), ("localhost", True), ("LOCALHOST:80", True),
     ("evil.example:4200", False), ("127.0.0.1.nip.io:4200", False), ("localhost.", False),
     ("127.0.0.1@evil.example", False), ("127.1:4200", False), ("0.0.0.0:4200", False),
     ("[", False), ("[::1", False), ("", False)],
)  # fmt: skip
def test_host_headers_of_this_machine_are_recognized(host: str, here: bool) -> None:
    assert names_this_machine(host) is here


@pytest.mark.parametrize(
    ("origin", "own"),
    [("", True), ("http://127.0.0.1:4200", True), ("http://127.0.0.1:4201", False), ("http://localhost:4200", False),
     ("https://evil.example", False), ("null", False), ("http://[", False),
     ("http://evil.example/127.0.0.1:4200", False)],
)  # fmt: skip
def test_pages_from_the_same_server_are_recognized(origin: str, own: bool) -> None:
    assert is_same_origin(origin, "127.0.0.1:4200") is own
