"""Programs for the images' entry points, run with ``python -P -m stenopool.orchestration.workers.container ...``.

``run COMMAND...`` is the entry point: it reads secrets from files, runs the self-test on a GPU, and replaces itself
with the command (exec), so that the command receives signals. ``health [ADDRESS]`` is the HEALTHCHECK (default address:
STENOPOOL_HEALTH). ``buckets s3://recordings s3://transcripts`` is the first step of a compose file.
"""

import os
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECRETS = Path("/run/secrets")
_TIMEOUT = 5.0
_ATTEMPTS = 16  # about two minutes: botocore's pauses grow to 20 s, on average half of that


def read_secrets(folder: Path = SECRETS) -> None:
    """Set environment variables from files named like them (``AWS_SECRET_ACCESS_KEY``).

    Compose, Swarm and Podman provide secrets as files, but Prefect and boto3 read variables. Variables that are already
    set are kept.
    """
    for file in sorted(folder.glob("[A-Z]*")):
        if file.name.isupper() and file.name.replace("_", "").isalnum() and file.is_file():
            os.environ.setdefault(file.name, file.read_text(encoding="utf-8").rstrip("\r\n"))


def run(command: list[str]) -> None:
    """Replace this process with the command. Raises `SystemExit` if it cannot be started or the self-test fails."""
    if not command:
        sys.exit("No command given. Example: stenopool --help")
    read_secrets()
    # Set by the GPU image: cuda, cpu (to use the same image without a GPU), or off.
    device = os.environ.get("STENOPOOL_SELFTEST", "off")
    if device != "off":
        from stenopool.orchestration.workers import selftest

        if not selftest.run(device):
            sys.exit(70)  # EX_SOFTWARE: not a usage error
    try:
        os.execvp(command[0], command)  # noqa: S606 (the command of the container)
    except OSError as error:
        sys.exit(f"Cannot start {command[0]}: {error.strerror}.")


def check_health(address: str) -> None:
    """Raise `SystemExit` unless the address responds with 200. Without an address, a running container is healthy.

    Uses only the standard library, because it runs every half minute.
    """
    if not address:
        return
    if not address.startswith(("http://", "https://")):
        sys.exit(f"{address} is not a valid address.")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT):  # noqa: S310 (the scheme was checked)
            pass
    except OSError as error:  # includes HTTP error statuses
        sys.exit(f"{address}: {error}")


def make_buckets(locations: list[str], attempts: int = _ATTEMPTS) -> None:
    """Create missing buckets of these addresses; folders are ignored.

    Waits for a store that is starting, which first does not respond and then returns 5xx for a while. Raises
    `SystemExit`, immediately for permanent errors such as a wrong key.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    patient = Config(connect_timeout=_TIMEOUT, retries={"mode": "standard", "total_max_attempts": attempts})
    client = boto3.Session().client("s3", config=patient)
    for bucket in (parts.netloc for parts in map(urlsplit, locations) if parts.scheme == "s3"):
        try:
            try:
                client.head_bucket(Bucket=bucket)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                # AWS requires the region in the request, except for us-east-1, where AWS rejects it.
                if (region := client.meta.region_name) in (None, "us-east-1", "aws-global"):
                    client.create_bucket(Bucket=bucket)
                else:
                    place: Any = {"LocationConstraint": region}
                    client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
                print(f"Created {bucket}.")
        except (BotoCoreError, ClientError) as error:
            sys.exit(f"{bucket}: {error}. Check AWS_ENDPOINT_URL_S3 and the keys.")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", *command]:
            run(command)
        case ["health", *address]:
            check_health(address[0] if address else os.environ.get("STENOPOOL_HEALTH", ""))
        case ["buckets", *locations]:
            make_buckets(locations)
        case _:
            sys.exit(__doc__)
