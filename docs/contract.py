"""Check the API for breaking changes: ``python -m docs.contract [REVISION]``.

Compares docs/openapi.json with that of a revision: by default the newest release, or the previous commit before the
first release. Exits with 1 for changes that break clients which follow docs/api.md#what-may-change.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).with_name("openapi.json")

ACCEPTED: dict[str, str] = {}
"""Intended breaking changes, as printed, each with its reason. Emptied by every release."""

Schema = dict[str, Any]
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")


def find_breaking_changes(before: Schema, after: Schema) -> list[str]:
    """The changes that break a client written for the document ``before``."""
    return list(_Comparison(before, after).compare())


class _Comparison:
    """Less content in responses breaks clients, and so do more requirements on requests."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before, self._after = before, after
        self._seen: set[tuple[str, str, bool]] = set()

    def compare(self) -> Iterator[str]:
        for kind, is_sent in (("paths", False), ("webhooks", True)):
            for path, methods in self._before.get(kind, {}).items():
                for method, old in methods.items():
                    where = f"{method.upper()} {path}"
                    new = self._after.get(kind, {}).get(path, {}).get(method)
                    if new is not None:
                        yield from self._operation(where, old, new, body_is_sent=is_sent)
                    elif not old.get("deprecated"):
                        yield f"{where}: removed without being deprecated first"

    def _operation(self, where: str, old: Schema, new: Schema, *, body_is_sent: bool) -> Iterator[str]:
        before, after = ({(each["in"], each["name"]): each for each in one.get("parameters", ())} for one in (old, new))
        for place, parameter in before.items():
            name = f"{where}: parameter {place[1]}"
            if place not in after:
                yield f"{name} removed"
                continue
            if after[place].get("required") and not parameter.get("required"):
                yield f"{name} required"
            yield from self._schema(name, parameter.get("schema", {}), after[place].get("schema", {}), is_sent=False)
        for place in after.keys() - before.keys():
            if after[place].get("required"):
                yield f"{where}: parameter {place[1]} required"
        body, new_body = old.get("requestBody", {}), new.get("requestBody", {})
        if new_body.get("required") and not body.get("required"):
            yield f"{where}: body required"
        yield from self._content(f"{where}: body", body, new_body, is_sent=body_is_sent)
        for status, answer in old.get("responses", {}).items():
            if status[0] in "23":  # error responses may change
                there = new.get("responses", {}).get(status)
                if there is None:
                    yield f"{where}: status {status} removed"
                else:
                    yield from self._answer(f"{where}: {status}", answer, there)

    def _answer(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        old, new = _resolve(self._before, old)[1], _resolve(self._after, new)[1]
        for name, header in old.get("headers", {}).items():
            if header.get("required") and not new.get("headers", {}).get(name, {}).get("required"):
                yield f"{where}: header {name} not always sent"
        yield from self._content(where, old, new, is_sent=True)

    def _content(self, where: str, old: Schema, new: Schema, *, is_sent: bool) -> Iterator[str]:
        for kind, media in old.get("content", {}).items():
            if kind not in new.get("content", {}):
                yield f"{where}: {kind} removed"
            else:
                after = new["content"][kind].get("schema", {})
                yield from self._schema(f"{where} {kind}", media.get("schema", {}), after, is_sent=is_sent)

    def _schema(self, where: str, old: Schema, new: Schema, *, is_sent: bool) -> Iterator[str]:
        (old_name, old), (new_name, new) = _resolve(self._before, old), _resolve(self._after, new)
        if old_name and new_name:  # once each, also for recursive schemas
            if (old_name, new_name, is_sent) in self._seen:
                return
            self._seen.add((old_name, new_name, is_sent))
        before, after = _alternatives(old), _alternatives(new)
        if len(before) == len(after) == 1:
            yield from self._simple(where, old, new, is_sent=is_sent)
            return
        # Each kind of value that can be sent must be one that the receiver expects.
        for coming in after if is_sent else before:
            expected = before if is_sent else after
            pairs = ((one, coming) if is_sent else (coming, one) for one in expected)
            for pair in pairs:
                seen = set(self._seen)
                if not list(self._schema(where, *pair, is_sent=is_sent)):
                    break
                self._seen = seen
            else:
                yield f"{where}: {_describe(coming)} is not expected"

    def _simple(self, where: str, old: Schema, new: Schema, *, is_sent: bool) -> Iterator[str]:
        before, after = _types(old), _types(new)
        wide, narrow = (before, after) if is_sent else (after, before)
        if wide is not None and (narrow is None or not narrow <= wide):
            yield f"{where}: {_describe(old)} became {_describe(new)}"
            return
        if not is_sent:  # clients must expect new values in responses
            values, allowed = _values(old), _values(new)
            if allowed is not None and (values is None or any(value not in allowed for value in values)):
                yield f"{where}: fewer values are accepted"
            yield from _bounds(where, old, new)
        yield from self._properties(where, old, new, is_sent=is_sent)
        for name in ("items", "additionalProperties"):
            if isinstance(old.get(name), dict) and isinstance(new.get(name), dict):
                yield from self._schema(f"{where}[]", old[name], new[name], is_sent=is_sent)

    def _properties(self, where: str, old: Schema, new: Schema, *, is_sent: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, field in before.items():
            if name not in after:
                yield f"{where}.{name}: removed"
            else:
                yield from self._schema(f"{where}.{name}", field, after[name], is_sent=is_sent)
        always, needed = set(old.get("required", ())), set(new.get("required", ()))
        if is_sent:
            yield from (f"{where}.{name}: not always sent" for name in sorted((always - needed) & after.keys()))
        else:
            yield from (f"{where}.{name}: required" for name in sorted(needed - always))
            if new.get("additionalProperties") is False and old.get("additionalProperties", True) is not False:
                yield f"{where}: other fields are rejected"


def _resolve(document: Schema, schema: Schema) -> tuple[str, Schema]:
    """The name and the content of a reference's target. A schema that is not a reference has an empty name."""
    name = schema.get("$ref", "")
    if not name:
        return "", schema
    found: Any = document
    for part in name.removeprefix("#/").split("/"):
        found = found[part]
    return name, found


def _alternatives(schema: Schema) -> list[Schema]:
    return schema.get("anyOf") or schema.get("oneOf") or [schema]


def _types(schema: Schema) -> set[str] | None:
    """The types that a value may have; None for any."""
    types = schema.get("type")
    if types is None:
        values = _values(schema)
        return None if values is None else {_TYPES[type(value)] for value in values}
    found = {types} if isinstance(types, str) else set(types)
    return found | {"integer"} if "number" in found else found


_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
}


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _bounds(where: str, old: Schema, new: Schema) -> Iterator[str]:
    listed = _values(old)  # values that were listed are bounds too
    numbers = [value for value in listed or () if isinstance(value, int | float)]
    for names, sign in ((_UPPER, 1), (_LOWER, -1)):
        for name in names:
            if name not in new:
                continue
            if name in ("maximum", "minimum") and listed and len(numbers) == len(listed):
                is_lower = any(sign * value > sign * new[name] for value in numbers)
            else:
                is_lower = name not in old or sign * new[name] < sign * old[name]
            if is_lower:
                yield f"{where}: {name} {new[name]}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{where}: pattern {new['pattern']}"


def _describe(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2] or str(schema.get("type") or schema.get("enum") or "anything")


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=DOCUMENT.parent, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def main() -> None:
    """Compare with a revision, print breaking changes, and exit with 1 if there are any."""
    newest = (_git("describe", "--tags", "--abbrev=0", "--match", "v*") or "").strip()
    revision = sys.argv[1] if len(sys.argv) > 1 else newest or "HEAD^"
    before = _git("show", f"{revision}:./{DOCUMENT.name}")
    if before is None:
        print(f"{revision} has no docs/{DOCUMENT.name} to compare with.")
        return
    found = find_breaking_changes(json.loads(before), json.loads(DOCUMENT.read_text()))
    for fault in found:
        print(f"{fault}{' (accepted: ' + ACCEPTED[fault] + ')' if fault in ACCEPTED else ''}")
    broken = [fault for fault in found if fault not in ACCEPTED]
    print(f"Since {revision}: {len(found)} breaking changes, {len(broken)} of them not accepted.")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
