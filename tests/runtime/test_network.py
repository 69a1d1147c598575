"""Addresses, IPv6 ones too."""

import socket

import httpx
import pytest

from stenopool.runtime.network import Address, free_port, is_loopback


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
def test_an_address_is_read_and_becomes_a_url(text: str, address: tuple[str, int], url: str) -> None:
    assert Address.parse(text) == address
    assert Address.parse(text).url == url
    assert httpx.URL(url).port in (address[1], None)


@pytest.mark.parametrize("text", ["", "0.0.0.0", ":80", "host:", "host:port", "[::1]"])
def test_what_is_no_address_with_a_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        Address.parse(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])
def test_it_is_listened_to_once(host: str) -> None:
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
def test_who_can_reach_a_host(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here
