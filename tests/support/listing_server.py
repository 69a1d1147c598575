"""An S3 server that only lists, in AWS's byte order: key sets given to it, or millions generated on request.

    python -m tests.support.listing_server --recordings 1000000

serves two buckets. ``recordings`` contains that many; ``transcripts`` contains receipts of the default options for nine
of ten of them. Nothing is stored: pages are computed from numbers. The port is printed first.

Supported: ListObjectsV2 with prefix, start-after, continuation-token, max-keys and encoding-type=url; ListObjects with
marker; and PUT with If-None-Match, and DELETE, for small key sets. Signatures are ignored.
"""

import argparse
import re
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit

from stenopool.options import TranscriptionOptions
from stenopool.pipeline.catalog import fingerprinter
from stenopool.pipeline.receipts import receipt_key

RECORDINGS, TRANSCRIPTS = "recordings", "transcripts"
# Parts of receipts' keys are encoded by one replacement, other ASCII text by a table: generating a page must cost less
# than reading it.
_NEARLY_PLAIN = re.compile(r"[A-Za-z0-9._~/!%-]*")
_ENCODED = {code: quote_plus(chr(code), safe="/") for code in range(128)}


class Listed(NamedTuple):
    key: str
    size: int
    etag: str


class MadeUpRecordings(Sequence[Listed]):
    """``count`` telephone calls, ten thousand per folder."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Listed:
        if not 0 <= number < self._count:
            raise IndexError(number)
        key = f"calls/{number // 10_000:05}/{number % 10_000:04} line-{number % 7} (inbound).wav"
        return Listed(key, 1_000_000 + number % 999_983, f"{number:032x}")


class MadeUpReceipts(Sequence[Listed]):
    """The receipts of all `MadeUpRecordings` except every tenth."""

    def __init__(self, recordings: MadeUpRecordings) -> None:
        self._recordings = recordings
        self._fingerprint = fingerprinter(TranscriptionOptions())

    def __len__(self) -> int:
        return len(self._recordings) - len(self._recordings) // 10

    def __getitem__(self, number: Any) -> Listed:
        if not 0 <= number < len(self):
            raise IndexError(number)
        listed = self._recordings[number + number // 9]
        # The fields of a recording that its fingerprint uses.
        return Listed(receipt_key(listed.key, self._fingerprint(listed)), 600, listed.etag)  # type: ignore[arg-type]


class ListingServer:
    """The server, in threads of this process. Every bucket is a sequence sorted by key; lists can be changed."""

    def __init__(self, **buckets: Sequence[Listed]) -> None:
        self.buckets = buckets
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def serve_forever(self) -> None:
        self._http.serve_forever()

    def put(self, bucket: str, key: str, content: bytes, *, if_absent: bool) -> bool:
        """False if the key exists already and must not exist."""
        objects = self.buckets[bucket]
        assert isinstance(objects, list)
        place = bisect_left(objects, key, key=lambda one: one.key)
        there = place < len(objects) and objects[place].key == key
        if there and if_absent:
            return False
        objects[place : place + there] = [Listed(key, len(content), md5(content).hexdigest())]
        return True

    def page(self, bucket: str, query: dict[str, str]) -> str | None:
        """One answer to ListObjectsV2, or to ListObjects; None if the bucket does not exist."""
        if bucket not in self.buckets:
            return None
        objects = self.buckets[bucket]
        prefix, most = query.get("prefix", ""), min(int(query.get("max-keys", 1000)), 1000)
        old = query.get("list-type") != "2"
        token = "" if old else query.get("continuation-token")
        after = bytes.fromhex(token).decode() if token else query.get("marker" if old else "start-after", "")
        begin = max(
            bisect_left(objects, prefix, key=lambda one: one.key), bisect_right(objects, after, key=lambda one: one.key)
        )
        lines: list[str] = []
        last, more = "", False
        for number in range(begin, len(objects)):
            key, size, etag = objects[number]
            if not key.startswith(prefix):
                break
            if len(lines) == most:
                more = True
                break
            last = key
            lines.append(
                f"<Contents><Key>{_url_encoded(key)}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
                f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
        following = f"<NextContinuationToken>{last.encode().hex()}</NextContinuationToken>" if more else ""
        counted = f"<KeyCount>{len(lines)}</KeyCount>"
        if old:
            following, counted = "", f"<Marker>{quote_plus(after, safe='/')}</Marker>"
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><Prefix>{quote_plus(prefix, safe='/')}</Prefix>{counted}"
            f"<MaxKeys>{most}</MaxKeys><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{following}{''.join(lines)}</ListBucketResult>"
        )


def _url_encoded(key: str) -> str:
    if _NEARLY_PLAIN.fullmatch(key):
        return key.replace("%", "%25")
    return key.translate(_ENCODED) if key.isascii() else quote_plus(key, safe="/")


def _handler(server: ListingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgment

        def handle_expect_100(self) -> bool:
            sent = super().handle_expect_100()
            self.wfile.flush()  # boto3 waits a second for it
            return sent

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            page = server.page(parts.path.strip("/"), query)
            if page is None:
                self._answer(404, "<Error><Code>NoSuchBucket</Code></Error>")
            else:
                self._answer(200, page)

        def do_PUT(self) -> None:
            bucket, _, key = unquote(urlsplit(self.path).path)[1:].partition("/")
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if server.put(bucket, key, content, if_absent=self.headers.get("If-None-Match") == "*"):
                self._answer(200, "")
            else:
                self._answer(412, "<Error><Code>PreconditionFailed</Code></Error>")

        def do_DELETE(self) -> None:
            bucket, _, key = unquote(urlsplit(self.path).path)[1:].partition("/")
            server.buckets[bucket] = [one for one in server.buckets[bucket] if one.key != key]
            self._answer(200, "")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"0"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """No access log."""

    return Handler


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=1_000_000)
    made_up = MadeUpRecordings(parser.parse_args().recordings)
    server = ListingServer(**{RECORDINGS: made_up, TRANSCRIPTS: MadeUpReceipts(made_up)})
    print(server.endpoint, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
