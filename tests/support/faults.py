"""Networks and servers that fail: proxies in front of a real server, which cut connections and change responses."""

import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class CuttingProxy:
    """Forwards bytes to ``127.0.0.1:port``.

    ``cuts``: the next response longer than the first of these numbers of bytes is cut off there, and so on.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.cuts: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answer: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if answer and self.cuts and passed > self.cuts[0]:
                    self.cuts.pop(0)
                    break
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


Fault = (
    Literal["500", "503", "slow", "refused", "lost", "cut", "denied", "full", "short", "etag"]
    | Literal["archived", "no-kms", "kms-off", "sse-c", "gone", "law", "expired", "no-bucket"]
)
FAULTS: tuple[Fault, ...] = ("500", "503", "slow", "refused", "lost", "cut")
Chooser = Callable[[str, str], Fault | None]
# A store's rule for (method, address, headers): the status and code of an error, or None.
Rule = Callable[[str, str, HTTPMessage], tuple[int, str] | None]
_KMS = "User: arn:aws:iam::1:user/x is not authorized to perform: kms:Decrypt on the resource"
_SSE_C = "The object was stored using a form of Server Side Encryption."
# Status, code and message, as AWS sends them.
_ERRORS = {
    "500": (500, "InternalError", ""),
    "503": (503, "SlowDown", ""),
    "denied": (403, "AccessDenied", "Access Denied"),
    "full": (507, "InsufficientStorage", ""),
    "archived": (403, "InvalidObjectState", "The operation is not valid for the object's storage class"),
    "no-kms": (403, "AccessDenied", _KMS),
    "kms-off": (400, "KMS.DisabledException", "arn:aws:kms:eu-central-1:1:key/2 is disabled."),
    "sse-c": (400, "InvalidRequest", _SSE_C),
    "gone": (404, "NoSuchKey", "The specified key does not exist."),
    "law": (451, "UnavailableForLegalReasons", ""),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "no-bucket": (404, "NoSuchBucket", "The specified bucket does not exist"),
}


class FaultyProxy:
    """An unreliable S3 server: an HTTP proxy that changes a share of the calls to ``127.0.0.1:port``.

    ``500``, ``503``: that response, without executing the call. ``slow``: the right response, ``delay`` seconds later.
    ``refused``: the connection is reset, without executing the call. ``lost``: the call is executed, and the connection
    reset in place of the response. ``cut``: reset in the middle of the response body. ``short``: half the body, with a
    matching length. ``etag``: another ETag. All others are error responses, see `_ERRORS`. Faults outside `FAULTS` come
    only from ``choose``, which may choose a call's fault by method and address, instead of chance.

    ``rewrite``: called with address and content of a response; returns what the client gets instead.

    ``rules``: calls that the store refuses, and the responses; rules are checked before any fault. Clients with
    HTTP_PROXY, which send absolute URLs, are supported.

    The faults of calls depend on ``seed``, method, address and the number of earlier equal calls, so they are the same
    in any order of threads. ``met`` counts the faults, ``calls`` all calls.
    """

    def __init__(
        self,
        port: int,
        *,
        share: float = 0.0,
        seed: int = 1,
        delay: float = 3.0,
        choose: Chooser | None = None,
        rewrite: Callable[[str, bytes], bytes] = lambda _, content: content,
        rules: tuple[Rule, ...] = (),
        strips: tuple[str, ...] = (),
        keys: tuple[str, str] = ("", ""),
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """``certificate``: files of a certificate and its key, to answer HTTPS.

        ``strips``: headers that the server does not support; calls with them are signed again without them, with
        ``keys``.
        """
        self.target = port
        self.rewrite = rewrite
        self.choose = choose
        self.rules, self.strips, self.keys = rules, strips, keys
        self.share = share
        self.seed = seed
        self.delay = delay
        self.calls = 0
        self.met: Counter[Fault] = Counter()
        self._asked: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_FaultyHandler, self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.endpoint = f"https://localhost:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def draw(self, method: str, path: str) -> Fault | None:
        """The fault of the next call with this method and address."""
        with self._lock:
            self.calls += 1
            if self.choose:
                chosen = self.choose(method, path)
                if chosen:
                    self.met[chosen] += 1
                return chosen
            self._asked[method, path] += 1
            chance = random.Random(f"{self.seed} {method} {path} {self._asked[method, path]}")
            if chance.random() >= self.share:
                return None
            fault = chance.choice(FAULTS)
            self.met[fault] += 1
            return fault


class _FaultyHandler(BaseHTTPRequestHandler):
    """A client's connection."""

    protocol_version = "HTTP/1.1"  # connections stay open, like those of S3 servers

    def __init__(self, proxy: FaultyProxy, *arguments: Any) -> None:
        self.proxy = proxy
        super().__init__(*arguments)

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that was killed
            super().handle()

    def answer(self) -> None:
        fault = self.proxy.draw(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        refusals = (rule(self.command, self.path, self.headers) for rule in self.proxy.rules)
        refusal = next(filter(None, refusals), None)
        if refusal or fault in _ERRORS:
            status, name, message = (*refusal, "") if refusal else _ERRORS[str(fault)]
            error = f"<Error><Code>{name}</Code><Message>{message}</Message></Error>".encode()
            self._send(status, [], b"" if self.command == "HEAD" else error)
            return
        if fault == "refused":
            self._reset()
            return
        if fault == "slow":
            time.sleep(self.proxy.delay)
        status, headers, content = self._forwarded(body)
        if (rewritten := self.proxy.rewrite(self.path, content)) != content:
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
            content = rewritten
        if fault == "lost" or (fault == "cut" and not content):
            self._reset()
        elif fault == "cut":
            self._send(status, headers, content, upto=len(content) // 2)
            self._reset()
        elif fault == "short":
            content = content[: len(content) // 2]
            kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
            self._send(status, kept, content)
        elif fault == "etag":
            kept = [(name, value) for name, value in headers if name.lower() != "etag"]
            self._send(status, [*kept, ("ETag", '"00000000000000000000000000000000"')], content)
        else:
            self._send(status, headers, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = answer

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """The server's response. The client's Host header is forwarded unchanged, because it is signed."""
        connection = HTTPConnection("127.0.0.1", self.proxy.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
        if any(name in headers for name in self.proxy.strips):
            headers = self._signed_again(headers, body)
        try:
            parts = urlsplit(self.path)  # clients of a proxy send an absolute URL
            connection.request(self.command, parts._replace(scheme="", netloc="").geturl(), body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, answer.getheaders(), content

    def _signed_again(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        dropped = (*self.proxy.strips, "Authorization", "X-Amz-Date")
        kept = {name: value for name, value in headers.items() if name not in dropped}
        request = AWSRequest(self.command, f"http://{headers['Host']}{self.path}", kept, body)
        S3SigV4Auth(Credentials(*self.proxy.keys), "s3", "us-east-1").add_auth(request)
        return dict(request.headers.items())

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes, upto: int | None = None) -> None:
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # in a response to HEAD: the length that the body would have
            elif name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content[:upto])

    def _reset(self) -> None:
        """Close so that the client sees "connection reset by peer", not an orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
