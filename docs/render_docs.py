"""Generate the reference pages from the code: ``python -m docs.render_docs``.

A test compares the pages with the output, so they cannot drift.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.contract import DOCUMENT
from stenopool.api.app import create_app
from stenopool.api.problems import API_CODES, status_of
from stenopool.errors import Disposition, ErrorCode
from stenopool.metrics.definitions import Metric, read_metrics
from stenopool.options import ExecutionOptions, SubtitleOptions, TranscriptionOptions
from stenopool.pipeline.catalog import IGNORED_EXTENSIONS, Selection
from stenopool.settings import ApiSettings, CallbackSettings, Settings
from stenopool.speech.transcript import Transcript

_FOLDER = Path(__file__).parent
_NOTE = "<!-- Written by `python -m docs.render_docs`; change the code it describes instead. -->"

_SETTINGS = f"""{_NOTE}
# Settings

These environment variables configure an installation; [options](options.md) configure a run. `__` separates the levels
of a name. `AWS_*`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_OFFLINE`, `PREFECT_*` and `CUDA_VISIBLE_DEVICES` have their usual
meaning and are not repeated here.
"""

_OPTIONS = f"""{_NOTE}
# Options

Options have the same names everywhere: `--beam-size 1` on the command line is `beam_size` in the API, the Prefect form,
saved profiles and JSON. Separate the values of a list with commas (`--languages en,de`), or repeat the option. Patterns
and keys may contain commas, so repeat the option for them. Options that contradict each other, or that the engine does
not support, are rejected with a message that names both.
"""

_METRICS = f"""{_NOTE}
# Metrics

Three programs serve metrics for Prometheus, in seconds and bytes. [Monitoring](monitoring.md) explains how the counters
are calculated, and why they are correct after kills and restarts.

| program | started by | port | metrics |
| --- | --- | --- | --- |
| exporter | `stenopool exporter DESTINATION` | 9480 | batches, queues, workers; one exporter per installation |
| api | `stenopool serve` | 8200 | its requests |
| worker | `stenopool worker --pool gpu` | 9481 | its runs and state |
"""

_EXTENSIONS = fill(" ".join(sorted(IGNORED_EXTENSIONS)), 120)

_ERRORS = f"""{_NOTE}
# Errors

Codes are stable, so programs may compare them. The API returns errors as problems (RFC 9457); their `type` links to
this page. A recording that cannot be transcribed has the same codes in its state, in callbacks and in `stenopool
status`. [What happens to my file](what-happens-to-my-file.md) explains what each code means for a recording.
"""

_FILE = f"""{_NOTE}
# What happens to my file

Every object below the source ends in one of four ways, and no object stops the others.

* **Done**: its transcript and a receipt are at the destination. Later runs skip it. `stenopool status` counts it.
* **Waiting**: it could not be read or written this time, although nothing is wrong with its content. Each run retries
  it, lists it in its table and in `report.json`, and exits with code 1, until it is done or excluded.
* **Quarantined**: another attempt would fail too, until its content or its name changes. `stenopool status` lists it.
  Later runs skip it. `stenopool retry` retries it; new content under the same key is a new recording.
* **Ignored**: it is not selected, or it is not a recording. Stenopool ignores hidden keys (a part starts with a dot),
  folder markers, its own files, objects that `--exclude`, `--include`, `--prefix` or `--modified-since` leave out, and,
  without `--include`, the extensions below. Everything else is inspected, whatever its name. In a folder, links to
  other folders are not followed, and a folder whose whole content is excluded (`--exclude 'lost+found/*'`) is not
  opened.

A transcript that may be wrong has `flags` that say why. Nothing is removed from it.

Ignored extensions:
{_EXTENSIONS}

## One object, or the whole store?

A server returns the same error for one forbidden object and for wrong credentials. So when an object is denied, missing
or unreadable, Stenopool checks the root of the store: can it list the source, and write to the destination? This is one
request; its result is valid for five seconds.

* The root responds: the error concerns this recording only, and it gets one of the codes below. All others are
  transcribed.
* It does not: every other recording would fail too. The run ends with exit code 2 and the error of the store
  (`ACCESS_DENIED`, `OBJECT_NOT_FOUND`, `STORAGE_UNAVAILABLE`), and no recording is marked. Finished transcripts are
  kept.

The listing shows archived storage classes, so those objects are not opened. Restored ones are transcribed. `stenopool
plan` and `stenopool doctor` count the objects to restore first.
"""

_DISPOSITIONS = {
    Disposition.WAIT: ("Waiting", "The next run retries it automatically. There is nothing to reset."),
    Disposition.QUARANTINE: (
        "Quarantined",
        "Someone has to act. After the remedy, run `stenopool retry DESTINATION --code CODE`, or upload the object "
        "again. `KEY_UNUSABLE` and `NOT_A_FILE` are found in the listing and get no receipt: each run lists them until "
        "they are renamed, removed or excluded.",
    ),
    Disposition.STOP: (
        "Not about a file",
        "The run ends with exit code 2, or does not start. After the remedy, run the same command again. The exception "
        "is a missing key that was requested by name (`--only`, notifications, `retry`): it is reported as "
        "`OBJECT_NOT_FOUND`, and the run continues.",
    ),
}

_TRANSCRIPTION = """\
These options are part of the fingerprint: with another value, a recording is transcribed again.

* A language is a code (`en`, `deu`), a tag or a locale (`pt-BR`, `zh-Hant`, `de_AT.UTF-8`) or an English name. All
  spellings of a language have the same fingerprint.
* Requests that the model does not support are rejected before the run starts, with alternatives: translation with turbo
  and distil models, languages that the model was not trained on or has no token for (`yue` needs large-v3 or turbo),
  alignment of languages without an alignment model. Public models are recognized by name or digest, others by
  vocabulary.
* Before each window, a model reads at most 223 tokens of prompt and vocabulary. If they are longer, each gets half,
  plus any tokens that the other does not need, and only its last part is read. The flag `prompt_shortened` and a line
  in the log report it.
* Pauses of a second or more are searched for speech again, at a normal level and with 0.4 of the threshold. Any speech
  found is transcribed if the model is sure of the text, and dropped if the model detects no speech. Otherwise, the
  transcript has the flag `speech_unclear`, and `untranscribed` lists the times. The pauses of split channels are not
  searched, because the other party may be audible in them."""

_SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    (
        "Transcription",
        _TRANSCRIPTION,
        TranscriptionOptions,
    ),
    (
        "Execution",
        "These options are not part of the fingerprint: changing them makes no recording pending again.",
        ExecutionOptions,
    ),
    (
        "Subtitles",
        "The style of SRT and WebVTT files; not part of the fingerprint either. Existing files do not change. To get\n"
        "another style, run `stenopool show TRANSCRIPT --format srt`, or request it from the API\n"
        "(`GET /v1/recordings/{id}/transcript?format=srt&max_line_width=32`; form fields of the same names at\n"
        "`/v1/audio/transcriptions`). When you name speakers, the API rewrites the files in the default style.\n"
        "\n"
        "The rules follow [Netflix's\n"
        "guides](https://partnerhelp.netflixstudios.com/hc/en-us/articles/215758617) for captions in the spoken\n"
        "language. Line width is counted in columns; Chinese, Japanese and Korean characters take two. Lines break\n"
        "where their script allows it (Unicode's UAX 14; Thai between words). A cue lasts 0.83 to 7 s. It extends\n"
        "into a pause until there was time to read it: 20 characters per second, 14 in Korean, 11 in Chinese, 7 in\n"
        "Japanese. For faster speech, it is shown while people speak. Cues do not overlap. In SRT, a speaker's label\n"
        "appears where the speaker changes, and does not count as text to read. Lines in Arabic and Hebrew have\n"
        "direction marks (U+202B, U+202C), so that players show them in order.",
        SubtitleOptions,
    ),
    ("Recordings", "The selection from the source, for `stenopool run` and `stenopool plan`.", Selection),
)


def render() -> dict[Path, str]:
    """The path and the content of each page."""
    return {
        _FOLDER / "settings.md": _settings(),
        _FOLDER / "options.md": _options(),
        _FOLDER / "metrics.md": _metrics(),
        _FOLDER / "transcript.schema.json": _schema(),
        _FOLDER / "errors.md": _errors(),
        _FOLDER / "what-happens-to-my-file.md": _file(),
        DOCUMENT: json.dumps(render_document(), indent=1, ensure_ascii=False) + "\n",
    }


def render_document() -> dict[str, Any]:
    """The OpenAPI document that every installation serves."""
    document = create_app(ApiSettings(), CallbackSettings()).openapi()
    return dict(json.loads(json.dumps(document)))


def _errors() -> str:
    lines = [_ERRORS, "## API errors", ""]
    for code, meaning in sorted(API_CODES.items()):
        lines += [f"### {code}", "", meaning, ""]
    lines += ["## Errors of recordings, storage and installations", "", "An error may have a more specific remedy.", ""]
    for error in ErrorCode:
        lines += [f"### {error}", "", f"{error.meaning} {error.remedy}", ""]
        lines += [f"{_DISPOSITIONS[error.disposition][0]}. HTTP status in the API: {status_of(error)}.", ""]
    return "\n".join(lines)


def _file() -> str:
    lines = [_FILE]
    for disposition, (title, text) in _DISPOSITIONS.items():
        lines += [
            f"## {title}",
            "",
            fill(text, 120),
            "",
            "| code | meaning | remedy |",
            "| --- | --- | --- |",
        ]
        lines += [_row(code, code.meaning, code.remedy) for code in ErrorCode if code.disposition is disposition]
        lines.append("")
    return "\n".join(lines)


def _schema() -> str:
    """The published JSON Schema of a transcript file."""
    schema = Transcript.model_json_schema(mode="serialization")
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": schema["title"]}
    return json.dumps(dialect | schema, indent=2) + "\n"


def _settings() -> str:
    lines = [_SETTINGS]
    for name, group in Settings.model_fields.items():
        assert isinstance(group.annotation, type)
        lines += [f"## {name}", "", _first_line(group.annotation), ""]
        prefix = f"{Settings.model_config['env_prefix']}{name}__".upper()
        lines += _table("setting", ((prefix + field.upper(), one) for field, one in _fields(group.annotation)))
    return "\n".join(lines)


def _options() -> str:
    lines = [_OPTIONS]
    for title, text, model in _SECTIONS:
        properties = model.model_json_schema()["properties"]
        lines += [f"## {title}", "", text, ""]
        lines += ["| option | values | default | description |", "| --- | --- | --- | --- |"]
        lines += [
            _row(f"--{name.replace('_', '-')}", _values(properties[name]), _default(field), field.description)
            for name, field in _fields(model)
            if model is SubtitleOptions or name not in SubtitleOptions.model_fields  # they have a section
        ]
        lines.append("")
    return "\n".join(lines)


def _metrics() -> str:
    lines = [_METRICS]
    for program in ("exporter", "api", "worker"):
        lines += [f"## {program}", "", "| metric | kind | labels | description |", "| --- | --- | --- | --- |"]
        lines += [_row(*_metric(metric)) for metric in read_metrics().values() if program in metric.programs]
        lines.append("")
    return "\n".join(lines)


def _metric(metric: Metric) -> tuple[str, str, str, str]:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    meanings = "; ".join(f"{label}: {meaning}" for label, meaning in metric.labels.items() if meaning)
    return metric.name, metric.kind, labels, f"{metric.help} {meanings}.".removesuffix(" .")


def _fields(model: Any) -> Iterator[tuple[str, FieldInfo]]:
    yield from model.model_fields.items()


def _first_line(model: type) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def _table(head: str, fields: Iterator[tuple[str, FieldInfo]]) -> list[str]:
    rows = [_row(name, _default(field), field.description) for name, field in fields]
    return [f"| {head} | default | description |", "| --- | --- | --- |", *rows, ""]


def _row(name: str, *cells: str | None) -> str:
    return " | ".join([f"| `{name}`", *(str(cell or "").replace("|", "\\|") for cell in cells)]) + " |"


def _default(field: FieldInfo) -> str:
    """The default on a reader's machine: the home and temporary folders are named, not resolved."""
    value = field.default
    if value in (None, (), "") or value is False:
        return ""
    if isinstance(value, Path):
        if value == Path(tempfile.gettempdir()):
            return "`$TMPDIR`, else `/tmp`"
        return f"`~/{value.relative_to(Path.home())}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def _values(schema: dict[str, Any]) -> str:
    """The allowed values in words, from a field's JSON Schema."""
    if "anyOf" in schema:  # optional
        return _values(schema["anyOf"][0])
    if "items" in schema:
        most = f"; at most {schema['maxItems']}" if "maxItems" in schema and "enum" not in schema["items"] else ""
        return f"list of {_values(schema['items'])}{most}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "boolean":
        return "flag"
    name = {"string": "text", "integer": "number", "number": "number"}[schema["type"]]
    if schema.get("format") == "date-time":
        name = "time"
    least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if least is not None and most is not None:
        return f"{least} to {most}"
    if least is not None:
        return f"{name}, {'more than' if 'exclusiveMinimum' in schema else 'at least'} {least:g}"
    return f"{name}, at most {schema['maxLength']} characters" if "maxLength" in schema else name


if __name__ == "__main__":
    for path, text in render().items():
        path.write_text(text)
