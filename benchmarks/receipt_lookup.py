"""CPU time for finding one recording's receipts among 1,000 to 100,000 others.

    uv run python -m benchmarks.receipt_lookup [--sizes 1000 10000 100000] [--s3-sizes 1000 10000 20000]

A run looks up the receipts of each recording three times: before the download, the engine and the upload. Stores of all
sizes are queried in turn, in rounds, so that the load of the machine affects all of them. Prints CPU seconds of this
process per look-up (the median round), and the ratio to the smallest store. On S3, the server's work is not counted,
and 20,000 receipts are the maximum because writing them takes a minute. Exit code 1 if a look-up is wrong, or if one in
a larger store takes more than `_LIMIT` times as long. No recording is looked up twice, because the kernel would cache
it.
"""

import argparse
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path
from statistics import median

from stenopool.pipeline.receipts import find_receipts, receipt_key
from stenopool.storage.base import ObjectStore
from stenopool.storage.local import LocalStore
from stenopool.storage.s3 import S3Store
from tests.support.seaweedfs import SeaweedFS

_LIMIT = 2.0
_ROUNDS = 15


def name_recording(number: int) -> tuple[str, str]:
    """Key and fingerprint of a recording. Every second one has a receipt."""
    return f"calls/2026-11/{number:07}.wav", md5(str(number).encode(), usedforsecurity=False).hexdigest()


def fill(store: ObjectStore, size: int) -> None:
    """Write this many empty receipts: a look-up reads only their names."""
    keys = [receipt_key(*name_recording(2 * number)) for number in range(size)]
    if isinstance(store, LocalStore):
        store.put_bytes(keys[0], b"")
        for key in keys[1:]:  # without the store's fsync, a hundred times as fast
            (store.root / key).touch()
    else:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: store.put_bytes(key, b""), keys))


def time_round(store: ObjectStore, numbers: list[int]) -> float:
    """CPU seconds of one look-up."""
    began = time.process_time()
    found = [len(find_receipts(store, *name_recording(number))) for number in numbers]
    took = time.process_time() - began
    if found != [1 - number % 2 for number in numbers]:
        sys.exit("A look-up returned a wrong result.")
    return took / len(numbers)


def compare(kind: str, stores: dict[int, ObjectStore], looks: int) -> bool:
    """Print a line per size; return whether the largest costs about as much as the smallest."""
    for size, store in stores.items():
        fill(store, size)
    smallest = min(stores)
    there = {size: random.sample(range(0, 2 * size, 2), _ROUNDS * looks) for size in stores}
    rounds = []
    for first in range(0, _ROUNDS * looks, looks):
        missing = [2 * number + 1 for number in range(first, first + looks)]
        rounds.append(
            {size: time_round(store, there[size][first : first + looks] + missing) for size, store in stores.items()}
        )
    flat = True
    for size in stores:
        seconds = median(one[size] for one in rounds)
        ratio = median(one[size] / one[smallest] for one in rounds)
        print(f"{kind:<6} {size:>8,} receipts  {seconds * 1e6:>8.0f} µs of CPU a look-up  {ratio:>5.2f}", flush=True)
        flat = flat and ratio <= _LIMIT
    return flat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--s3-sizes", type=int, nargs="*", default=[1000, 10_000, 20_000])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flat = compare("folder", {size: LocalStore(Path(folder) / str(size)) for size in given.sizes}, looks=60)
        if given.s3_sizes:
            server = SeaweedFS(Path(folder) / "seaweedfs")
            server.start()
            try:
                client, bucket = server.client(), server.make_bucket()
                stores: dict[int, ObjectStore] = {
                    size: S3Store(bucket, str(size), client=client) for size in given.s3_sizes
                }
                flat = compare("S3", stores, looks=10) and flat
            finally:
                server.stop()
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
