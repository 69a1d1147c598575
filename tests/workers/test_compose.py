"""The compose file, read by Docker Compose itself: every profile, its services, and the places of secrets."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stenopool.cli import app
from tests.support.compose import fetch

REPOSITORY = Path(__file__).parents[2]
COMPOSE = REPOSITORY / "workers" / "compose"
OURS = re.compile(r"stenopool:\S+-(cpu|cuda12)")
ONCE = {"buckets", "deploy"}


def secrets(folder: Path) -> dict[str, str]:
    """Run secrets.sh and return the contents of its files."""
    subprocess.run(["sh", folder / "secrets.sh"], check=True, capture_output=True)
    return {file.name: file.read_text().strip() for file in (folder / "secrets").iterdir()}


class Installation:
    """A copy of the folders that compose mounts, with secrets."""

    def __init__(self, folder: Path) -> None:
        for part in ("workers/compose", "deployments", "monitoring"):
            ignore = shutil.ignore_patterns("secrets", "__pycache__")
            shutil.copytree(REPOSITORY / part, folder / part, ignore=ignore)
        self.compose = folder / "workers" / "compose"
        self.secrets = secrets(self.compose)
        self._program = fetch()

    def config(self, *profiles: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("STENOPOOL_", "AWS_"))}
        flags = [f"--profile={profile}" for profile in profiles]
        command = [self._program, *flags, "config", "--format=json"]
        return subprocess.run(command, cwd=self.compose, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    try:
        fetch()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"docker-compose cannot be fetched: {error}")
    return Installation(tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="module")
def services(installation: Installation) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(installation.config("gpu", "observability").stdout)["services"]
    return found


@pytest.mark.parametrize("profiles", [(), ("gpu",), ("observability",), ("gpu", "observability")], ids="+".join)
def test_every_profile_is_valid(profiles: tuple[str, ...], installation: Installation) -> None:
    found = installation.config(*profiles)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    named = set(json.loads(found.stdout)["services"])
    assert ("worker-gpu" in named) == ("gpu" in profiles)
    assert {"prometheus", "alertmanager", "grafana", "exporter"} <= named or "observability" not in profiles
    assert {
        "postgres", "redis", "seaweedfs", "buckets", "prefect-server", "prefect-services", "deploy", "worker-cpu",
        "worker-transcribe", "api",
    } <= named  # fmt: skip


def test_every_service_has_a_meaningful_health_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name in ONCE:
            assert service["restart"] == "no"
        elif OURS.fullmatch(service["image"]):
            # The image's own check, of the URL in this variable.
            assert service["environment"]["STENOPOOL_HEALTH"], name
        else:
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_third_party_images_are_pinned_by_digest(services: dict[str, Any]) -> None:
    for name, service in services.items():
        image = service["image"]
        assert OURS.fullmatch(image) or re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image), name


def test_the_configuration_has_no_secrets(installation: Installation) -> None:
    text = installation.config("gpu", "observability").stdout
    texts = [secret for secret in installation.secrets.values() if secret]
    assert len(texts) >= 12
    for secret in texts:
        assert secret not in text


def test_no_password_has_a_default(services: dict[str, Any]) -> None:
    """Variables named after a password, a key or a secret contain a path below /run/secrets."""
    secret_names = re.compile(r"PASSWORD|SECRET|AUTH_STRING|TOKEN|ACCESS_KEY|ENCRYPTION_KEY|CONNECTION_URL|API__KEYS")
    for service in services.values():
        for name, value in (service.get("environment") or {}).items():
            assert not secret_names.search(name) or value.startswith("/run/secrets/"), name


def test_our_containers_have_a_read_only_root_and_cannot_gain_privileges(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if OURS.fullmatch(service["image"]):
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name


def test_ports_are_open_only_on_this_host(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 5
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_mounted_files_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", ()):
            assert volume["type"] == "volume" or Path(volume["source"]).exists(), volume


def test_data_are_in_named_volumes(installation: Installation) -> None:
    volumes = json.loads(installation.config("observability").stdout)["volumes"]
    assert set(volumes) == {"postgres", "redis", "seaweedfs", "models", "prometheus", "alertmanager", "grafana"}


def test_commands_and_options_exist(services: dict[str, Any]) -> None:
    """Options are parsed, nothing is executed."""
    import typer

    commands = typer.main.get_command(app)
    seen = set()
    for service in services.values():
        program, *arguments = service.get("command") or [""]
        if program == "stenopool":
            name, *rest = arguments
            commands.commands[name].make_context(name, rest)  # type: ignore[attr-defined]
            seen.add(name)
    assert seen == {"deploy", "up", "serve", "exporter"}


def test_prefect_gets_the_server_profile(services: dict[str, Any]) -> None:
    from stenopool.orchestration.deploy.server import SECRETS, settings

    for name in ("prefect-server", "prefect-services"):
        assert settings().items() <= services[name]["environment"].items()
        mounted = {secret["target"].rpartition("/")[2] for secret in services[name]["secrets"]}
        assert set(SECRETS) <= mounted


def test_prometheus_uses_the_names_of_the_services(services: dict[str, Any]) -> None:
    text = (REPOSITORY / "monitoring/prometheus.yaml").read_text()
    scraped: list[str] = []
    for job in yaml.safe_load(text)["scrape_configs"]:
        for group in job.get("static_configs", ()):
            scraped += [target.partition(":")[0] for target in group["targets"]]
        for group in job.get("dns_sd_configs", ()):
            scraped += group["names"]
    assert set(scraped) - {"localhost"} <= set(services)
    assert services["worker-transcribe"]["networks"]["default"]["aliases"] == ["worker-gpu"]


PLANTED = {
    "an unknown key": ("stop_grace_period: 60s", "stop_grace_periods: 60s", "not allowed"),
    "a missing dependency": ("postgres: { condition", "postgre: { condition", "postgre"),
    "an undeclared secret": ("secrets: [grafana-password]", "secrets: [grafana-pasword]", "grafana-pasword"),
    "an undeclared volume": ("volumes: [redis:/data]", "volumes: [reddis:/data]", "reddis"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_found(mistake: str, installation: Installation) -> None:
    old, new, finding = PLANTED[mistake]
    file = installation.compose / "compose.yaml"
    right = file.read_text()
    assert old in right
    file.write_text(right.replace(old, new))
    try:
        found = installation.config("gpu", "observability")
    finally:
        file.write_text(right)
    assert found.returncode != 0
    assert finding in found.stderr


class TestSecrets:
    def test_every_mounted_secret_is_created(self, installation: Installation) -> None:
        declared = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["secrets"]
        assert {Path(one["file"]).name for one in declared.values()} <= set(installation.secrets)

    def test_secrets_are_long_and_unique(self, installation: Installation) -> None:
        made = [text for name, text in installation.secrets.items() if not name.startswith("alertmanager")]
        assert len(set(made)) == len(made)
        assert all(len(text) >= 20 for text in made)

    def test_secrets_are_accepted_by_their_readers(self, installation: Installation) -> None:
        from cryptography.fernet import Fernet

        from stenopool.api.keys import Keys

        Fernet(installation.secrets["prefect-encryption-key"])
        holder = Keys.read(installation.compose / "secrets/api-keys").holder(installation.secrets["api-key"])
        assert holder is not None
        assert holder.may("admin")
        (identity,) = json.loads(installation.secrets["s3.json"])["identities"]
        assert identity["credentials"] == [
            {
                "accessKey": installation.secrets["aws-access-key-id"],
                "secretKey": installation.secrets["aws-secret-access-key"],
            }
        ]

    def test_other_users_of_the_host_have_no_access(self, installation: Installation) -> None:
        assert (installation.compose / "secrets").stat().st_mode & 0o777 == 0o700

    def test_existing_secrets_are_kept(self, installation: Installation) -> None:
        assert secrets(installation.compose) == installation.secrets

    def test_git_ignores_secrets(self) -> None:
        subprocess.run(["git", "check-ignore", "-q", COMPOSE / "secrets/api-key"], cwd=REPOSITORY, check=True)
