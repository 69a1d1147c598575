"""What the images bring besides their command, as ``python -P -m stenopool.orchestration.workers.container ...``.

``run COMMAND...`` is the entry point: it reads secrets from files, runs the self-test where there is a GPU, and becomes
the command (exec), so that signals reach that. ``health [ADDRESS]`` is the HEALTHCHECK, of the address in
STENOPOOL_HEALTH where none is given. ``buckets s3://recordings s3://transcripts`` is the first step of a compose file.
"""

import os
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECRETS = Path("/run/secrets")
_TIMEOUT = 5.0
_ATTEMPTS = 16  # about two minutes: botocore's pauses grow to 20 s, and are half of that on average


def read_secrets(folder: Path = SECRETS) -> None:
    """Put files named like environment variables (``AWS_SECRET_ACCESS_KEY``) into the environment.

    Compose, Swarm and Podman bring secrets as files, Prefect and boto3 read variables. What is set already stays.
    """
    for file in sorted(folder.glob("[A-Z]*")):
        if file.name.isupper() and file.name.replace("_", "").isalnum() and file.is_file():
            os.environ.setdefault(file.name, file.read_text(encoding="utf-8").rstrip("\r\n"))


def run(command: list[str]) -> None:
    """Become the command. Raises `SystemExit` where that cannot be, or where this image cannot work."""
    if not command:
        sys.exit("No command was given. For example: stenopool --help")
    read_secrets()
    # The GPU image sets it: cuda, or cpu where the same image works without a GPU, or off.
    device = os.environ.get("STENOPOOL_SELFTEST", "off")
    if device != "off":
        from stenopool.orchestration.workers import selftest

        if not selftest.run(device):
            sys.exit(70)  # EX_SOFTWARE: no argument of the command is at fault
    try:
        os.execvp(command[0], command)  # noqa: S606 (the command is what the container was started with)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}.")


def check_health(address: str) -> None:
    """The address answers, and with 200; without one, a container that runs is healthy. Else raises `SystemExit`.

    Standard library only: it runs every half minute.
    """
    if not address:
        return
    if not address.startswith(("http://", "https://")):
        sys.exit(f"{address} is not an address.")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT):  # noqa: S310 (the scheme was checked)
            pass
    except OSError as error:  # an HTTP status of failure is one, too
        sys.exit(f"{address}: {error}")


def make_buckets(locations: list[str], attempts: int = _ATTEMPTS) -> None:
    """Make the buckets of these addresses that are not there; those of folders have none.

    Waits for a store that starts: it answers nothing, then for a while 5xx. Raises `SystemExit`, at once for what stays
    wrong, such as a key.
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
                # AWS requires the region in the request, except for its first one, which it refuses there.
                if (region := client.meta.region_name) in (None, "us-east-1", "aws-global"):
                    client.create_bucket(Bucket=bucket)
                else:
                    place: Any = {"LocationConstraint": region}
                    client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
                print(f"Made {bucket}.")
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
