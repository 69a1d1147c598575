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

from stenopool import __version__
from stenopool.cli import app
from tests.support.compose import fetch

REPOSITORY = Path(__file__).parents[2]
COMPOSE = REPOSITORY / "workers" / "compose"
OURS = re.compile(r"ghcr\.io/stenopool/stenopool:\S+-(cpu|cuda12)")
ONCE = {"buckets", "deploy"}
CARDS = ("gpu", *(f"gpu-{number}" for number in range(1, 8)))
ALL = (*CARDS, "observability", "tls")


def secrets(folder: Path) -> dict[str, str]:
    """Run secrets.sh and return the contents of its files."""
    subprocess.run(["sh", folder / "secrets.sh"], check=True, capture_output=True)
    return {file.name: file.read_text().strip() for file in (folder / "secrets").iterdir()}


class Installation:
    """A copy of the folders that compose mounts, with secrets."""

    def __init__(self, folder: Path) -> None:
        for part in ("workers/compose", "deployments", "monitoring"):
            ignore = shutil.ignore_patterns("secrets", "__pycache__", ".env", "stenopool.env", "targets")
            shutil.copytree(REPOSITORY / part, folder / part, ignore=ignore)
        self.compose = folder / "workers" / "compose"
        self.secrets = secrets(self.compose)
        self._program = fetch()

    def config(self, *profiles: str, **own: str) -> subprocess.CompletedProcess[str]:
        """What Compose reads, with these profiles, and these lines in addition to those of .env."""
        prefixes = ("STENOPOOL_", "AWS_", "COMPOSE_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)} | own
        flags = [f"--profile={profile}" for profile in profiles]
        command = [str(self._program), *flags, "config", "--format=json"]
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
    found: dict[str, Any] = json.loads(installation.config(*ALL).stdout)["services"]
    return found


@pytest.mark.parametrize("profiles", [(), ("gpu",), ("observability",), ALL], ids="+".join)
def test_every_profile_is_valid(profiles: tuple[str, ...], installation: Installation) -> None:
    found = installation.config(*profiles)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    named = set(json.loads(found.stdout)["services"])
    assert ("worker-gpu" in named) == ("gpu" in profiles)
    assert ("proxy" in named) == ("tls" in profiles)
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
    text = installation.config(*ALL).stdout
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
    """Except those of the proxy, which encrypts."""
    ports = [port for name, service in services.items() if name != "proxy" for port in service.get("ports", ())]
    assert len(ports) == 5
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_mounted_files_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", ()):
            assert volume["type"] == "volume" or Path(volume["source"]).exists(), volume


def test_data_are_in_named_volumes(installation: Installation) -> None:
    volumes = json.loads(installation.config("observability", "tls").stdout)["volumes"]
    named = {"postgres", "redis", "seaweedfs", "models", "prometheus", "alertmanager", "grafana", "certificates"}
    assert set(volumes) == named


def test_services_without_audio_leave_no_volume_behind(services: dict[str, Any]) -> None:
    """The image's /tmp is an anonymous volume, which `down` does not delete; only audio needs it."""
    ours = {name for name, service in services.items() if OURS.fullmatch(service["image"])}
    with_audio = {name for name in ours if name == "api" or name.startswith("worker-")}
    assert {name for name in ours if services[name].get("tmpfs") == ["/tmp"]} == ours - with_audio


def test_each_gpu_worker_has_its_own_card_and_one_run_at_a_time(services: dict[str, Any]) -> None:
    workers = {name: service for name, service in services.items() if name.startswith("worker-gpu")}
    assert card_faults(workers) == []
    assert {service["profiles"][0] for service in workers.values()} == set(CARDS)


def card_faults(workers: dict[str, Any]) -> list[str]:
    """`count: 1` is the first card for every container (moby: countToDevices)."""
    faults, used = [], []
    for name, service in workers.items():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        used += device.get("device_ids", [])
        if "device_ids" not in device or (device["driver"], device["capabilities"]) != ("nvidia", ["gpu"]):
            faults.append(f"{name} requests any card")
        if service["command"][service["command"].index("--limit") + 1 :][:1] != ["1"]:
            faults.append(f"{name} has no limit")
        if service["networks"]["default"]["aliases"] != ["worker-gpu"]:
            faults.append(f"{name} is not scraped")
    return faults + ["two workers use the same card" for _ in range(len(used) - len(set(used)))]


def test_two_workers_on_one_card_are_found(services: dict[str, Any]) -> None:
    same = json.loads(json.dumps({name: services[name] for name in ("worker-gpu", "worker-gpu-1")}))
    same["worker-gpu-1"]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] = ["0"]
    assert card_faults(same) == ["two workers use the same card"]
    same["worker-gpu-1"]["deploy"]["resources"]["reservations"]["devices"] = [
        {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    ]
    assert card_faults(same) == ["worker-gpu-1 requests any card"]


def test_choices_are_saved(installation: Installation) -> None:
    """In .env, so that `docker compose up -d`, as in the guide for upgrades, needs no options."""
    (installation.compose / ".env").write_text(
        "COMPOSE_PROFILES=gpu,gpu-1,observability\nSTENOPOOL_CPU_TRANSCRIBERS=0\nSTENOPOOL_CPU_WORKERS=3\n"
    )
    try:
        found = json.loads(installation.config().stdout)["services"]
    finally:
        shutil.copy(installation.compose / "example.env", installation.compose / ".env")
    assert {"worker-gpu", "worker-gpu-1", "exporter", "grafana"} <= set(found)
    assert "worker-gpu-2" not in found
    assert found["worker-transcribe"]["deploy"]["replicas"] == 0
    assert found["worker-cpu"]["deploy"]["replicas"] == 3
    for guide in ("docs/deploy/compose.md", "docs/operations/upgrade.md"):
        assert not re.search(r"docker compose.*--(profile|scale)", (REPOSITORY / guide).read_text())


def test_everything_has_a_default(installation: Installation, services: dict[str, Any]) -> None:
    """Without .env, the same services; the version is that of the checkout, so an upgrade cannot mix two."""
    (installation.compose / ".env").unlink()
    try:
        found = json.loads(installation.config(*ALL).stdout)["services"]
    finally:
        shutil.copy(installation.compose / "example.env", installation.compose / ".env")
    assert found == services
    versions = {
        service["image"].partition(":")[2].partition("-")[0] for service in found.values() if "build" in service
    }
    assert versions == {__version__}


def test_every_line_of_the_example_is_a_variable_of_compose() -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    names = set(re.findall(r"(?m)^#?([A-Z0-9_]+)=", (COMPOSE / "example.env").read_text()))
    assert names - {"COMPOSE_PROFILES"} == set(re.findall(r"\$\{(\w+)", text))
    for own in (".env", "stenopool.env", "targets/node.json"):
        subprocess.run(["git", "check-ignore", "-q", COMPOSE / own], cwd=REPOSITORY, check=True)


def test_settings_reach_all_stenopool_services(installation: Installation) -> None:
    file = installation.compose / "stenopool.env"
    file.write_text("STENOPOOL_PRICES__GPU_HOUR=1.5\nSTENOPOOL_MODELS__MIRROR=s3://models\nHF_HUB_OFFLINE=1\n")
    try:
        found = json.loads(installation.config(*ALL).stdout)["services"]
    finally:
        file.unlink()
    for service in found.values():
        if OURS.fullmatch(service["image"]):
            assert service["environment"]["STENOPOOL_PRICES__GPU_HOUR"] == "1.5"
            assert service["environment"]["HF_HUB_OFFLINE"] == "1"


def test_workers_cannot_reach_the_databases(services: dict[str, Any]) -> None:
    """They decode files from outside."""
    reach = {name for name, service in services.items() if "data" in service["networks"]}
    assert reach == {"postgres", "redis", "prefect-server", "prefect-services"}
    assert set(services["postgres"]["networks"]) == set(services["redis"]["networks"]) == {"data"}


def test_a_further_host_needs_two_addresses(installation: Installation) -> None:
    own = {"STENOPOOL_PREFECT_URL": "https://prefect.x/api", "AWS_ENDPOINT_URL_S3": "https://s3.x"}
    worker = json.loads(installation.config("gpu", **own).stdout)["services"]["worker-gpu"]
    assert worker["environment"]["PREFECT_API_URL"] == "https://prefect.x/api"
    assert worker["environment"]["AWS_ENDPOINT_URL_S3"] == "https://s3.x"


def test_the_proxy_serves_the_sites_of_the_guide(services: dict[str, Any]) -> None:
    sites = re.findall(
        r"(?m)^(\S*)\{\$STENOPOOL_DOMAIN\} \{\n.*\n\treverse_proxy (\S+):(\d+)$", (COMPOSE / "Caddyfile").read_text()
    )
    assert sites == [("", "api", "8200"), ("prefect.", "prefect-server", "4200"), ("s3.", "seaweedfs", "8333")]
    assert {name for _, name, _ in sites} <= set(services)


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
    "an undeclared network": ("networks: [data]", "networks: [date]", "date"),
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
        found = installation.config(*ALL)
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


class TestBackup:
    """The scripts with a `docker` that records its arguments; tests/support/compose_stack.py runs them for real."""

    DOCKER = """#!/bin/sh
echo "$*" >>"{log}"
case "$*" in
    "compose ps --services") printf 'api\\npostgres\\nseaweedfs\\n' ;;
    *pg_dump*) echo dump; {end} ;;
    *"--entrypoint tar"*) echo tar ;;
    *pg_restore* | *"--entrypoint sh"*) cat >>"{log}" ;;
esac
"""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        shutil.copytree(COMPOSE, tmp_path / "compose", ignore=shutil.ignore_patterns("secrets", ".env", "targets"))
        secrets(tmp_path / "compose")
        return tmp_path

    def run(self, folder: Path, script: str, end: str = "true") -> tuple[subprocess.CompletedProcess[str], list[str]]:
        docker, log = folder / "bin/docker", folder / "log"
        docker.parent.mkdir(exist_ok=True)
        docker.write_text(self.DOCKER.format(log=log, end=end))
        docker.chmod(0o755)
        log.write_text("")
        environment = os.environ | {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
        command = [str(folder / "compose" / script), "backup"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        return done, log.read_text().splitlines()

    def test_the_store_is_copied_while_nothing_writes_and_then_all_start(self, folder: Path) -> None:
        done, calls = self.run(folder, "backup.sh")
        assert done.returncode == 0, done.stderr
        assert calls[:2] == ["compose ps --services", "compose stop api seaweedfs"]
        assert "--entrypoint tar seaweedfs" in calls[3]
        assert calls[4:] == ["compose up -d"]
        backup = folder / "backup"
        assert {path.name for path in backup.iterdir()} == {"prefect.dump", "seaweedfs.tar", "secrets", ".env"}
        assert (backup / "prefect.dump").read_text() == "dump\n"
        assert (backup / "secrets").stat().st_mode & 0o77 == 0
        assert backup.stat().st_mode & 0o77 == 0

    def test_a_failure_keeps_the_last_backup_and_starts_all(self, folder: Path) -> None:
        self.run(folder, "backup.sh")
        (folder / "backup/prefect.dump").write_text("the last one")
        done, calls = self.run(folder, "backup.sh", end="exit 1")
        assert done.returncode != 0
        assert calls[-1] == "compose up -d"
        assert (folder / "backup/prefect.dump").read_text() == "the last one"

    def test_a_host_that_lost_everything_gets_secrets_and_choices_back(self, folder: Path) -> None:
        (folder / "compose/.env").write_text("COMPOSE_PROFILES=gpu\n")
        key = (folder / "compose/secrets/api-key").read_text()
        self.run(folder, "backup.sh")
        shutil.rmtree(folder / "compose/secrets")
        (folder / "compose/.env").unlink()
        done, calls = self.run(folder, "restore.sh")
        assert done.returncode == 0, done.stderr
        assert (folder / "compose/secrets/api-key").read_text() == key
        assert (folder / "compose/.env").read_text() == "COMPOSE_PROFILES=gpu\n"
        assert calls[:2] == ["compose down", "compose up -d --wait postgres"]
        assert [call for call in calls if call in ("dump", "tar")] == ["dump", "tar"]
        assert calls[-1] == "compose up -d"

    def test_an_installation_with_other_secrets_is_left_alone(self, folder: Path) -> None:
        self.run(folder, "backup.sh")
        (folder / "compose/secrets/prefect-encryption-key").write_text("another\n")
        done, calls = self.run(folder, "restore.sh")
        assert done.returncode == 1
        assert "other secrets" in done.stderr
        assert calls == []
