"""Create the buckets of an installation that has none yet.

``python -P -m stenopool.orchestration.workers.buckets s3://recordings s3://transcripts`` waits two minutes for the
store to answer. Existing buckets stay as they are; addresses other than ``s3://`` are skipped.
"""

import sys
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

_PATIENCE = 120.0


def make(buckets: list[str], patience: float = _PATIENCE) -> None:
    """Raises SystemExit with what went wrong."""
    client = boto3.Session().client("s3")
    deadline = time.monotonic() + patience
    for bucket in buckets:
        while True:
            try:
                _make(client, bucket)
                break
            except (BotoCoreError, ClientError) as error:
                # A store that starts answers nothing, then for a while 5xx; a wrong key stays wrong.
                code = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 503)
                if code < 500 or time.monotonic() > deadline:
                    sys.exit(f"{bucket}: {error}. Check AWS_ENDPOINT_URL_S3 and the keys.")
                time.sleep(1)


def _make(client: "boto3.client", bucket: str) -> None:  # type: ignore[valid-type]  # boto3 makes its types at run time
    try:
        client.head_bucket(Bucket=bucket)  # type: ignore[attr-defined]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
        print(f"Made {bucket}.")


if __name__ == "__main__":
    make([parts.netloc for parts in map(urlsplit, sys.argv[1:]) if parts.scheme == "s3"])
