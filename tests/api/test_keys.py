"""The key file: valid and invalid lines, and reloading by a running API."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from stenopool.api.keys import Keys
from stenopool.errors import SetupError
from stenopool.settings import ApiSettings
from tests.support.api_server import Api, key_line, secret, serving
from tests.support.waiting import wait_until

DIGEST = "a" * 64
BAD_LINES = {
    "name read": "expected a name",
    f"name read,all {DIGEST}": "expected a name",
    f"name  {DIGEST}": "expected a name",
    f"name read {DIGEST.upper()}": "expected a name",
    "name read the-key-itself": "expected a name",
    "a b c d": "expected a name",
    f"name read {DIGEST} the-key-itself": "expected a name",
    f"name read {DIGEST} prefix=a/ prefix=b/": "expected a name",
    f"na\u202eme read {DIGEST}": "expected a name",
    **{
        f"name read {DIGEST} prefix={prefix}": "must be a folder"
        for prefix in (
            "",
            "a",
            "/",
            "/a/",
            "../",
            "a/../",
            "a//b/",
            ".a/",
            "a/.b/",
            "a\\b/",
            "a\u202e/",
            "x" * 1100 + "/",
        )
    },
    f"name read,admin {DIGEST} prefix=a/": "cannot have a prefix",
    f"name read {DIGEST} until=soon": "must be a date",
    f"name read {DIGEST} until=": "must be a date",
}


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("line", BAD_LINES)
def test_an_invalid_line_is_reported_but_not_quoted(line: str, tmp_path: Path) -> None:
    write(tmp_path / "keys", "# fine", "", line)
    with pytest.raises(SetupError, match=f"keys:3.*{BAD_LINES[line]}") as error:
        Keys.read(tmp_path / "keys")
    assert "the-key-itself" not in str(error.value)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (key_line("anna", "read"), f"anna write {DIGEST}", "has the same name as line 1"),
        (key_line("anna", "read"), key_line("anna", "read").replace("anna", "bob", 1), "has the same key as line 1"),
    ],
)
def test_names_and_keys_must_be_unique(first: str, second: str, said: str, tmp_path: Path) -> None:
    write(tmp_path / "keys", first, second)
    with pytest.raises(SetupError, match=f"keys:2 {said}"):
        Keys.read(tmp_path / "keys")


def test_earlier_key_files_are_accepted(tmp_path: Path) -> None:
    write(tmp_path / "keys", "# name scopes digest", key_line("clerk", "read,write"), key_line("boss", "admin"))
    keys = Keys.read(tmp_path / "keys")
    clerk, boss = keys.holder(secret("clerk")), keys.holder(secret("boss"))
    assert clerk
    assert boss
    assert [scope for scope in ("read", "write", "delete", "batch", "edit", "admin") if clerk.may(scope)] == [
        "read",
        "write",
    ]
    assert (clerk.prefix, clerk.until, boss.may("delete")) == ("", None, True)


@pytest.mark.parametrize(
    ("until", "works"),
    [
        ("2020-01-01", False),
        ("9999-01-01", True),
        (time.strftime("%Y-%m-%d", time.gmtime()), False),  # from its first moment on
        (time.strftime("%Y-%m-%dT23:59:59.999Z", time.gmtime()), True),
        (time.strftime("%Y-%m-%dT00:00:00+01:00", time.gmtime()), False),
    ],
    ids=["past", "future", "today", "end of today", "began elsewhere"],  # the same in all test processes
)
def test_a_key_expires(until: str, works: bool, tmp_path: Path) -> None:
    write(tmp_path / "keys", key_line("anna", f"read until={until}"))
    assert (Keys.read(tmp_path / "keys").holder(secret("anna")) is not None) is works


def test_a_generated_key_works(tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from stenopool.api.keys import main

    monkeypatch.setattr("sys.argv", ["stenopool.api.keys", "front-desk", "read,write", "prefix=desk/"])
    main()
    out, err = capsys.readouterr()
    (tmp_path / "keys").write_text(out)
    key = err.split()[-1]
    holder = Keys.read(tmp_path / "keys").holder(key)
    assert holder
    assert (holder.name, holder.may("write"), holder.may("admin")) == ("front-desk", True, False)
    assert holder.prefix == "desk/"
    assert key not in out
    assert Keys.read(tmp_path / "keys").holder(key[:-1]) is None
    monkeypatch.setattr("sys.argv", ["stenopool.api.keys", "front-desk", "read,all"])
    with pytest.raises(SystemExit, match="OPTIONS_INVALID"):
        main()


@pytest.fixture
def served(deployed: None, settings: ApiSettings) -> Any:
    with serving(settings) as api:
        yield api


def status(api: Api, who: str) -> int:
    with api.client(who) as client:
        return client.get("/v1/about").status_code


def until_it_works(api: Api, who: str) -> None:
    wait_until(lambda: status(api, who) == 200, f"the key of {who} works", seconds=10, every=0.2)


def test_a_running_api_reloads_the_key_file(
    served: Api, settings: ApiSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = settings.keys
    assert path
    assert (status(served, "clerk"), status(served, "new")) == (200, 401)
    write(path, key_line("boss", "read"), key_line("new", "read"))
    until_it_works(served, "new")
    assert status(served, "clerk") == 401  # revoked
    with served.client("boss") as client:
        assert client.get("/v1/about").json()["scopes"] == ["read"]
    assert "Reloaded the keys: added new; changed boss; removed" in caplog.text
    for secret_of in ("new", "boss"):
        assert secret(secret_of) not in caplog.text


@pytest.mark.parametrize("broken", ["bad line", "double name", "not text", "gone"])
def test_a_broken_file_changes_nothing_and_is_reported_once(
    broken: str, served: Api, settings: ApiSettings, caplog: pytest.LogCaptureFixture
) -> None:
    path, content = (
        settings.keys,
        {
            "bad line": f"{key_line('new', 'read')}\nthe-key-itself\n".encode(),
            "double name": f"{key_line('new', 'read')}\n{key_line('new', 'write')}\n".encode(),
            "not text": b"\xff\xfe",
        },
    )
    assert path
    assert status(served, "clerk") == 200
    if broken == "gone":
        path.unlink()
    else:
        path.write_bytes(content[broken])
    wait_until(lambda: status(served, "clerk") and "previous keys remain" in caplog.text, "it is reported", seconds=10)
    for _ in range(3):
        time.sleep(0.6)
        assert (status(served, "clerk"), status(served, "new")) == (200, 401)
    (report,) = [record for record in caplog.records if "previous keys remain" in record.getMessage()]
    assert report.levelname == "ERROR"
    assert str(path) in report.getMessage()
    assert "the-key-itself" not in caplog.text
    write(path, key_line("new", "read"))
    until_it_works(served, "new")
    assert status(served, "clerk") == 401


def test_changes_with_equal_size_and_times_are_noticed(served: Api, settings: ApiSettings) -> None:
    path = settings.keys
    assert path
    write(path, key_line("one", "read"))
    until_it_works(served, "one")
    before = path.stat()
    write(path, key_line("two", "read"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    until_it_works(served, "two")
    assert status(served, "one") == 401


def test_an_empty_key_file_revokes_all_keys(served: Api, settings: ApiSettings) -> None:
    assert settings.keys
    assert status(served, "clerk") == 200
    write(settings.keys, "# nobody")
    wait_until(lambda: status(served, "clerk") == 401, "the keys are revoked", seconds=10, every=0.2)


def test_an_expired_key_is_refused_like_an_unknown_one(deployed: None, settings: ApiSettings) -> None:
    assert settings.keys
    write(settings.keys, key_line("late", "admin until=2020-01-01"))
    with serving(settings) as api, api.client("late") as client, api.client("nobody") as unknown:
        late, other = client.get("/v1/queue"), unknown.get("/v1/queue")
    assert late.status_code == 401
    assert {**late.json(), "request_id": ""} == {**other.json(), "request_id": ""}


def test_the_documented_upgrade_of_key_files_works(tmp_path: Path) -> None:
    """Runs the command of the upgrade page on a file with every kind of line."""
    import re
    import subprocess

    page = (Path(__file__).parents[2] / "docs/operations/upgrade.md").read_text()
    command = re.search(r"^sed -E -i .* keys$", page, re.MULTILINE)
    assert command
    lines = ["# write a comment", key_line("w", "write"), key_line("rw", "read,write"), key_line("writer", "read")]
    write(tmp_path / "keys", *lines)
    subprocess.run(["bash", "-c", command[0]], cwd=tmp_path, check=True)
    keys = Keys.read(tmp_path / "keys")
    scopes = {who: sorted(key.scopes) for who in ("w", "rw", "writer") if (key := keys.holder(secret(who)))}
    new = ["batch", "delete", "edit"]
    assert scopes == {"w": [*new, "write"], "rw": [*new, "read", "write"], "writer": ["read"]}
    assert (tmp_path / "keys").read_text().startswith("# write a comment\n")
