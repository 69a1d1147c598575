"""Where callbacks may go: never to internal addresses, however they are written and whatever a name later means."""

import asyncio
import ipaddress
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stenopool.api.callbacks import sending
from stenopool.api.callbacks.sending import AddressError, Allowed, DeliveryError, Sender, new_secret
from stenopool.errors import SetupError
from stenopool.settings import CallbackSettings
from tests.support.receiver import receiving

PUBLIC = [
    "93.184.216.34", "8.8.8.8", "192.0.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.254",
    "2606:2800:220:1:248:1893:25c8:1946", "2001:4860:4860::8888", "2001:200::1", "3fff:1000::1", "64:ff9b::808:808",
]  # fmt: skip
INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    # Addresses that Python 3.11.7 calls global, and IPv6 forms of public IPv4 addresses that are not public.
    "fec0::1", "feff::1", "192.0.0.192", "192.0.0.8", "192.88.99.1", "168.63.129.16", "3fff::1", "3fff:fff::1",
    "5f00::1", "64:ff9b:1::808:808", "64:ff9b::a83f:8110", "2001:0:808:808::1", "2001:20::1", "2001:1::1", "2001:2::1",
    "2002:808:808::1", "::8.8.8.8", "::ffff:0:8.8.8.8", "::ffff:168.63.129.16", "2620:4f:8000::1", "192.175.48.1",
    "192.31.196.1", "192.52.193.1", "100::1", "4000::1", "e000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed_with_tls(address: str) -> None:
    assert Allowed([]).takes(address, encrypted=True)
    assert not Allowed([]).takes(address, encrypted=False)
    assert Allowed(["0.0.0.0/0", "::/0"]).takes(address, encrypted=False)


@pytest.mark.parametrize("address", INSIDE)
def test_internal_addresses_are_refused_unless_allowed(address: str) -> None:
    assert not Allowed([]).takes(address, encrypted=True)
    assert not Allowed(["203.0.113.0/24"]).takes(address, encrypted=True)


def test_public_addresses_do_not_depend_on_the_python_version(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        for name in ("is_global", "is_private", "is_reserved", "is_link_local", "is_loopback", "is_multicast"):
            monkeypatch.setattr(kind, name, property(lambda _, name=name: name == "is_global"))
    assert not [address for address in INSIDE if Allowed([]).takes(address, encrypted=True)]


def test_allowed_networks_may_be_called() -> None:
    allowed = Allowed([" 10.0.0.0/8", "fd00::/8", "192.168.7.7"])
    for address in ("10.1.2.3", "fd00::1", "192.168.7.7", "::ffff:10.0.0.1"):
        assert allowed.takes(address, encrypted=False)
    for address in ("192.168.7.8", "172.16.0.1", "127.0.0.1"):
        assert not allowed.takes(address, encrypted=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/", "https://2130706433/", "https://0x7f.1/", "https://127.1/",
        "https://[::1]/", "https://[::ffff:7f00:1]/", "https://169.254.169.254/latest/", "https://0/",
        "http://93.184.216.34/", "ftp://93.184.216.34/", "file:///etc/passwd", "gopher://93.184.216.34/",
        "https://user:word@93.184.216.34/", "https://93.184.216.34:99999/", "https:///path", "https://", "", "x",
        "https://93.184.216.34/\r\nHost: inside", "https://93.184.216.34/ü", "https://93.184.216.34/a b", "https://[::1",
        "https://there-is-no-such-name.invalid/",
    ],
)  # fmt: skip
def test_invalid_callback_urls_are_refused(url: str) -> None:
    with pytest.raises(AddressError) as refused:
        asyncio.run(Allowed([]).check(url))
    assert str(refused.value) == ""  # the message must not reveal what a name resolves to


def test_only_listed_hosts_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves(monkeypatch, ["93.184.216.34"])
    allowed = Allowed([], ["hooks.example.org", " *.Example.net"])
    for host in ("hooks.example.org", "HOOKS.example.ORG.", "a.example.net", "a.b.example.net"):
        asyncio.run(allowed.check(f"https://{host}/x"))
    for host in ("example.org", "hooks.example.org.evil.org", "example.net", "xexample.net", "93.184.216.34"):
        with pytest.raises(AddressError):
            asyncio.run(allowed.check(f"https://{host}/x"))
        with pytest.raises(AddressError):  # also when it is sent
            asyncio.run(allowed.resolve(host, 443, encrypted=True))


def test_slow_name_servers_block_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least as many look-ups as the loop has threads; meanwhile the stores' threads are free."""
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(20))
    monkeypatch.setattr(sending, "_PATIENCE", 0.5)

    async def ask() -> tuple[float, float, list[object]]:
        allowed, begin = Allowed([]), time.monotonic()
        checks = [asyncio.create_task(allowed.check(f"https://{number}.example.org/")) for number in range(100)]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(lambda: None)
        store = time.monotonic() - begin
        refused = await asyncio.gather(*checks, return_exceptions=True)
        return store, time.monotonic() - begin, list(refused)

    try:
        store, all_over, refused = asyncio.run(ask())
    finally:
        answered.set()
    assert {type(each) for each in refused} == {AddressError}
    assert store < 1
    assert all_over < 5


def test_simultaneous_requests_are_limited_per_host_and_key(tmp_path: Path) -> None:
    async def count(places: list[tuple[str, str]]) -> int:
        sender, inside, most = _sender(tmp_path), 0, 0

        async def take(url: str, owner: str) -> None:
            nonlocal inside, most
            async with sender.turn(url, owner):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1

        await asyncio.gather(*(take(*place) for place in places))
        assert not sender._of_host._places  # entries of unused names disappear
        return most

    same_host = [(f"https://{'Slow' if n % 2 else 'slow'}.example.org./{n}", f"key {n}") for n in range(10)]
    same_key = [(f"https://{n}.example.org/", "key") for n in range(10)]
    assert asyncio.run(count(same_host)) == 2
    assert asyncio.run(count(same_key)) == 4
    assert asyncio.run(count([(f"https://{n}.example.org/", f"key {n}") for n in range(10)])) == 10


@pytest.mark.parametrize("scheme", ["http", "HTTP", "Http"])
def test_the_scheme_is_case_insensitive(scheme: str, tmp_path: Path) -> None:
    with receiving() as receiver:
        url = receiver.url.replace("http", scheme, 1)
        sender = _sender(tmp_path)
        asyncio.run(sender.allowed.check(url))
        asyncio.run(sender.send(url, "msg_1", b"{}"))
        assert len(receiver.calls) == 1


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_https_is_encrypted_in_any_case(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Public addresses are called with TLS only, so without it nothing would be connected to."""
    _resolves(monkeypatch, ["93.184.216.34"])
    sender, tried = _sender(tmp_path, allow=""), []

    async def connect(_: object, host: str, *__: object, **___: object) -> None:
        tried.append(host)
        raise sending.httpcore.ConnectError

    monkeypatch.setattr(sending.httpcore.AnyIOBackend, "connect_tcp", connect)
    with pytest.raises(DeliveryError):
        asyncio.run(sender.send(f"{scheme}://example.org/", "msg_1", b"{}"))
    assert tried == ["93.184.216.34"]


def test_a_name_with_one_internal_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(AddressError):
        asyncio.run(Allowed([]).check("https://mixed.example.org/"))


def test_dns_rebinding_reaches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sender = _sender(tmp_path, allow="")
    with receiving() as receiver:
        port = receiver.url.partition("127.0.0.1:")[2].partition("/")[0]
        url = f"https://rebound.example.org:{port}/event"
        _resolves(monkeypatch, ["93.184.216.34"])
        asyncio.run(sender.allowed.check(url))
        _resolves(monkeypatch, ["127.0.0.1"])
        with pytest.raises(AddressError):
            asyncio.run(sender.send(url, "msg_1", b"{}"))
    assert receiver.calls == []


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.answers = [302, 307, 308]
        for status in list(receiver.answers):
            with pytest.raises(DeliveryError, match=f"HTTP {status}"):
                asyncio.run(_sender(tmp_path).send(receiver.url, "msg_1", b"{}"))
    assert {call.path for call in receiver.calls} == {"/events"}


def test_a_receiver_that_never_responds_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DeliveryError):
            asyncio.run(_sender(tmp_path, timeout=0.2).send(url, "msg_1", b"{}"))


@pytest.mark.parametrize(
    "secrets",
    [
        "",
        "hunter2",
        "whsec_short",
        "whsec_" + "?" * 40,
        pytest.param(f"{new_secret()}\nsomething else", id="a second line"),
    ],
)
def test_invalid_secrets_are_refused_and_not_quoted(secrets: str, tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(secrets)
    with pytest.raises(SetupError, match="must have one secret per line") as error:
        Sender(CallbackSettings(secrets=path))
    assert "hunter2" not in str(error.value)


def test_invalid_networks_are_refused() -> None:
    with pytest.raises(SetupError, match="STENOPOOL_CALLBACKS__ALLOW"):
        Sender(CallbackSettings(allow="10.0.0.0/8,inside"))


def _sender(folder: Path, **more: Any) -> Sender:
    path = folder / "secrets"
    path.write_text(new_secret())
    return Sender(CallbackSettings(secrets=path, **{"allow": "127.0.0.0/8", **more}))


def _resolves(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
