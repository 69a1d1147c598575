"""Time, memory and requests for planning a bucket of a million recordings, nine of ten of them done.

    python benchmarks/planning.py [--sizes 100000 1000000] [--limit-seconds 90] [--limit-mb 200]

A server in a separate process generates the listings, over the S3 protocol. The planner is that of `stenopool plan`, in
a new process for each size. Prints wall and CPU seconds (the machine may have other work), the planner's peak memory,
and LIST requests. Exit code 1 if a limit is exceeded, if memory grows with the bucket, or if a state is wrong.

Growth: a LIST request returns 1,000 keys, and planning sends no other requests: recordings / 1,000 + receipts / 1,000,
regardless of what is new. A million recordings with 900,000 receipts take 1,900 requests, at $0.005 per 1,000 on AWS:
one cent. 100 million take 190,000 requests and $0.95 for each plan of the whole bucket, which is $690 a month if
hourly, so plan such a bucket by the prefix of the day. A HEAD per recording would be 100 million requests, $40. Time
grows likewise; memory does not grow.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = 1000  # keys, the maximum of S3
DOLLARS_PER_LIST = 0.005 / 1000  # S3 Standard, us-east-1
GROWTH_MB = 10  # allowed difference of memory between sizes: noise of the allocator


def plan() -> None:
    """Plan in this process, and print time and memory as JSON."""
    from stenopool.options import TranscriptionOptions
    from stenopool.pipeline.catalog import Selection
    from stenopool.pipeline.shards import Plan
    from stenopool.storage import open_store
    from stenopool.storage.s3 import process_client

    requests: Counter[str] = Counter()

    def sent(event_name: str, **_: object) -> None:
        requests[event_name.rpartition(".")[2]] += 1

    process_client(os.getpid()).meta.events.register("before-send.s3", sent)  # retries count too
    began = time.monotonic()
    plan = Plan(open_store("s3://recordings"), open_store("s3://transcripts"), TranscriptionOptions(), Selection())
    for _ in plan.items():
        pass
    wall = time.monotonic() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "lists": requests.pop("ListObjectsV2", 0),
        "others": sum(requests.values()),
        "counts": plan.counts,
    }
    print(json.dumps(result))


def measured(size: int) -> dict[str, Any]:
    """Time and memory for planning ``size`` recordings."""
    command = [sys.executable, "-P", "-m", "tests.support.listing_server", "--recordings", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout is not None
            endpoint = server.stdout.readline().strip()
            environment = os.environ | {
                "AWS_ENDPOINT_URL_S3": endpoint,
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            child = subprocess.run(
                [sys.executable, "-P", __file__, "--child"],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        finally:
            server.kill()
    result: dict[str, Any] = json.loads(child.stdout)
    return result


def main() -> int:
    """Measure each size, print, compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--limit-seconds", type=float, default=90.0, help="for the largest size")
    parser.add_argument("--limit-mb", type=float, default=200.0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        plan()
        return 0
    results = []
    for size in arguments.sizes:
        result = measured(size)
        results.append(result)
        per = 100_000 / size
        print(
            f"{size:>9,} recordings, {result['counts'].get('done', 0):,} done: {result['wall']:.1f} s "
            f"({result['wall'] * per:.2f} per 100,000), "
            f"CPU {result['cpu']:.1f} s ({result['cpu'] * per:.2f} per 100,000), memory {result['peak_mb']:.0f} MB, "
            f"{result['lists']:,} LIST requests, {result['others']} others",
            flush=True,
        )
    for size in (arguments.sizes[-1], 100_000_000):
        lists = math.ceil(size / PAGE) + math.ceil(size * 9 / 10 / PAGE)
        print(f"{size:>11,} recordings: {lists:,} LIST requests, ${lists * DOLLARS_PER_LIST:,.2f} on AWS")
    checks = {
        f"at most {arguments.limit_seconds:.0f} s": results[-1]["wall"] <= arguments.limit_seconds,
        f"at most {arguments.limit_mb:.0f} MB": max(one["peak_mb"] for one in results) <= arguments.limit_mb,
        "memory flat": results[-1]["peak_mb"] - results[0]["peak_mb"] <= GROWTH_MB,
        "one request per page, and no others": all(
            one["lists"] == math.ceil(size / PAGE) + math.ceil(size * 9 / 10 / PAGE) and not one["others"]
            for size, one in zip(arguments.sizes, results, strict=True)
        ),
        "states right": all(
            one["counts"] == {"done": size * 9 // 10, "new": size - size * 9 // 10}
            for size, one in zip(arguments.sizes, results, strict=True)
        ),
    }
    for name, kept in checks.items():
        print(f"{name}: {'kept' if kept else 'MISSED'}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
