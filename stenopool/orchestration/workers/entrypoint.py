"""Entry point of the images: reads secrets from files, runs the self-test where there is a GPU, then the command.

``python -m stenopool.orchestration.workers.entrypoint COMMAND...``. It becomes the command (exec),
so that signals reach that.
"""

import os
import sys
from pathlib import Path

SECRETS = Path("/run/secrets")


def read_secrets(folder: Path = SECRETS) -> None:
    """Put files named like environment variables (``AWS_SECRET_ACCESS_KEY``) into the environment.

    Compose, Swarm and Podman bring secrets as files, Prefect and boto3 read variables. What is set already stays.
    """
    for file in sorted(folder.glob("[A-Z]*")):
        if file.name.isupper() and file.name.replace("_", "").isalnum() and file.is_file():
            os.environ.setdefault(file.name, file.read_text(encoding="utf-8").rstrip("\r\n"))


def main(command: list[str]) -> None:
    if not command:
        sys.exit("No command was given. For example: stenopool --help")
    read_secrets()
    # The GPU image sets it: cuda, or cpu where the same image works without a GPU, or off.
    device = os.environ.get("STENOPOOL_SELFTEST", "off")
    if device != "off":
        from stenopool.orchestration.workers.selftest import run

        if not run(device):
            sys.exit(70)  # EX_SOFTWARE: an image that cannot work; no argument of the command is at fault
    try:
        os.execvp(command[0], command)  # noqa: S606 (the command is what the container was started with)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}.")


if __name__ == "__main__":
    main(sys.argv[1:])
