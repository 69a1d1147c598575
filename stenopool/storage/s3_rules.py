"""Rules of S3 buckets: headers that their policies require, and S3 features that a store lacks.

`add_parameters` adds the parameters in `StorageSettings` to requests. A refusal is only "Access Denied", so
`explain_refusal` repeats the request with other settings and names those that are accepted.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from copy import copy
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore import exceptions as aws

from stenopool.errors import LocationInvalid, StenopoolError, StorageUnavailable
from stenopool.settings import StorageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from stenopool.storage.s3 import S3Store

_WRITES = ("PutObject", "CreateMultipartUpload")
_PREFIX = "STENOPOOL_STORAGE__"
_CHECKSUMS = "AWS_REQUEST_CHECKSUM_CALCULATION"
# Refused for their credentials, whatever else the request contains.
_CREDENTIALS = (
    *("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"),
    *("AuthorizationHeaderMalformed", "RequestTimeTooSkewed"),
)


# The rules of a trial in progress. Creating a client takes a tenth of a second, and one serves nearly all trials.
_tried: ContextVar[StorageSettings | None] = ContextVar("stenopool_rules", default=None)


class Trial(NamedTuple):
    """Settings of a trial's client that replace those of the process. ``checksums`` is AWS's own setting."""

    addressing: str | None = None
    checksums: str | None = None


class _Change(NamedTuple):
    """A setting that may resolve a refusal: the store's behaviour, and how to write the setting."""

    cause: str
    setting: str
    rules: dict[str, Any]
    checksums: str | None = None

    def applies(self, rules: StorageSettings) -> bool:
        """Whether it differs from the current settings."""
        return self.checksums is not None or any(getattr(rules, name) != value for name, value in self.rules.items())


def add_parameters(client: "S3Client", rules: StorageSettings) -> None:
    """Add these parameters, or those of a trial, to all requests of a client that accept them."""
    client.meta.events.register("before-parameter-build.s3", partial(_add, rules), unique_id="stenopool-rules")


def signed_headers(client: "S3Client", rules: StorageSettings) -> dict[str, str]:
    """The headers that these rules add to a write, which users of a presigned address must send too."""
    shape: Any = client.meta.service_model.operation_model("PutObject").input_shape
    members = shape.members
    return {members[name].serialization["name"]: value for name, value in _parameters(rules).items()}


def _parameters(rules: StorageSettings) -> dict[str, str]:
    given = {
        "ServerSideEncryption": rules.encryption or ("aws:kms" if rules.kms_key else None),
        "SSEKMSKeyId": rules.kms_key,
        "RequestPayer": "requester" if rules.requester_pays else None,
        "ACL": rules.acl,
        "Tagging": rules.tags,
    }
    return {name: value for name, value in given.items() if value}


def _add(rules: StorageSettings, params: dict[str, Any], model: Any, **_: object) -> None:
    for name, value in _parameters(_tried.get() or rules).items():
        wanted = model.name in _WRITES or name == "RequestPayer"
        if wanted and model.input_shape and name in model.input_shape.members:
            params.setdefault(name, value)


def explain_refusal(store: "S3Store", error: StenopoolError, step: Callable[["S3Store"], object]) -> StenopoolError:
    """The error of ``step`` with the settings that resolve it; the same error if none does.

    ``step`` is repeated with each setting that stores are known to require, then with each pair of settings.
    """
    status, code = _answer_of(error)
    refused = (400 <= status < 500 and status not in (404, 408, 429)) or status == 501
    unknown_address = status == 404 or isinstance(error.__cause__, (aws.EndpointConnectionError, aws.SSLError))
    if code in _CREDENTIALS or not (refused or unknown_address):
        return error
    listed = _list_changes(store) if refused else _list_addressing()
    changes = [change for change in listed if change.applies(store.rules)]
    clients = dict[Trial, "S3Client"]()
    pairs = combinations([change for change in changes if "addressing" not in change.rules], 2)
    for chosen in (*((change,) for change in changes), *pairs):
        if not _conflict(chosen) and _succeeds(store, step, chosen, clients):
            causes = " ".join(change.cause for change in chosen)
            settings = " and ".join(change.setting for change in chosen)
            return _as_setup_error(error, f"{error.message} {causes}", f"Set {settings}.")
    if unknown_address:
        return error
    tried = "server-side encryption, requester pays, ACLs, checksums, path and virtual-host addressing"
    remedy = f"{error.remedy} Tried one by one without success: {tried}; "
    remedy += f"a policy may require a certain key ({_PREFIX}KMS_KEY) or tags ({_PREFIX}TAGS)."
    return _as_setup_error(error, error.message, remedy)


def _answer_of(error: StenopoolError) -> tuple[int, str]:
    """The status and code of the response that caused an error; 0 if there was no response."""
    if not isinstance(error.__cause__, aws.ClientError):
        return 0, ""
    answer = error.__cause__.response
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), answer.get("Error", {}).get("Code", "")


def find_retention(store: "S3Store") -> str:
    """The bucket's default retention of object versions; empty if it has none."""
    with suppress(StenopoolError), store.errors("get", ""):
        answer: Any = store.client.get_object_lock_configuration(Bucket=store.bucket)
        if rule := answer.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention"):
            length = f"{rule['Days']} days" if "Days" in rule else f"{rule.get('Years', '?')} years"
            return f"{rule.get('Mode', '?').lower()} mode, {length}"
    return ""


def _list_changes(store: "S3Store") -> Iterator[_Change]:
    rules = store.rules
    yield _Change(
        "The store refuses conditional writes (If-None-Match).",
        f"{_PREFIX}CONDITIONAL_WRITES=false",
        {"conditional_writes": False},
    )
    yield _Change("The bucket has requester pays enabled.", f"{_PREFIX}REQUESTER_PAYS=true", {"requester_pays": True})
    demand = "The store requires server-side encryption in the request."
    for kind in ("AES256", "aws:kms"):
        yield _Change(demand, f"{_PREFIX}ENCRYPTION={kind}", {"encryption": kind, "kms_key": None})
    if key := _find_key(store):
        settings = f"{_PREFIX}ENCRYPTION=aws:kms and {_PREFIX}KMS_KEY={key}"
        yield _Change(
            "The store requires encryption with this key.", settings, {"encryption": "aws:kms", "kms_key": key}
        )
    full = "bucket-owner-full-control"
    yield _Change("The bucket requires that its owner controls the objects.", f"{_PREFIX}ACL={full}", {"acl": full})
    for value, does in (("when_supported", "requires"), ("when_required", "refuses")):
        if value != store.checksums:
            yield _Change(f"The store {does} checksums in requests.", f"{_CHECKSUMS}={value}", {}, value)
    yield from _list_addressing()
    for name, what in (("encryption", "this encryption"), ("acl", "ACLs"), ("tags", "tags")):
        if getattr(rules, name):
            unset = {name: None} | ({"kms_key": None} if name == "encryption" else {})
            yield _Change(f"The store refuses {what}.", f"{_PREFIX}{name.upper()} to an empty value", unset)


def _list_addressing() -> Iterator[_Change]:
    for style, where in (("path", "ENDPOINT/BUCKET"), ("virtual", "BUCKET.ENDPOINT")):
        yield _Change(f"The store responds only at {where}.", f"{_PREFIX}ADDRESSING={style}", {"addressing": style})


def _find_key(store: "S3Store") -> str:
    """The bucket's default encryption key, if it can be read."""
    with suppress(StenopoolError), store.errors("get", ""):
        answer: Any = store.client.get_bucket_encryption(Bucket=store.bucket)
        for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
            if key := rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID"):
                return str(key)
    return ""


def _conflict(chosen: tuple[_Change, ...]) -> bool:
    names = [name for change in chosen for name in (*change.rules, *(["checksums"] if change.checksums else []))]
    return len(names) != len(set(names))


def _succeeds(
    store: "S3Store",
    step: Callable[["S3Store"], object],
    chosen: tuple[_Change, ...],
    clients: "dict[Trial, S3Client]",
) -> bool:
    changed = {name: value for one in chosen for name, value in one.rules.items()}
    trial = Trial(changed.get("addressing"), next((one.checksums for one in chosen if one.checksums), None))
    rules = store.rules.model_copy(update=changed)
    token = _tried.set(rules)
    try:
        if trial not in clients:
            clients[trial] = store.reconnect(trial=trial)
        step(store.with_client(clients[trial], rules))
    except StenopoolError:
        return False
    finally:
        _tried.reset(token)
    return True


def _as_setup_error(error: StenopoolError, message: str, remedy: str) -> StenopoolError:
    """The error with another message. If it seemed temporary, it becomes `LocationInvalid`, which is not retried."""
    if isinstance(error, StorageUnavailable):
        return LocationInvalid(message, remedy=remedy)
    explained = copy(error)
    explained.message, explained.remedy = message, remedy
    return explained
