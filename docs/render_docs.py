"""Write the reference pages from the code that they describe: ``python -m docs.render_docs``.

A test compares the pages with what this would write, so they cannot drift.
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

Everything about an installation that is no option of a run. Set as environment variables; `__` goes a level deeper.
`AWS_*`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_OFFLINE`, `PREFECT_*` and `CUDA_VISIBLE_DEVICES` keep their own names and
meaning and are not repeated here.
"""

_OPTIONS = f"""{_NOTE}
# Options

The same names everywhere: `--beam-size 1` on the command line is `beam_size` in the API, the Prefect form, a saved
profile and JSON. Lists are given with commas (`--languages en,de`) or by repeating the option; patterns and keys,
which may hold commas themselves, by repeating only. What does not go together, or an engine cannot honour, is refused
with a line that names both.
"""

_METRICS = f"""{_NOTE}
# Metrics

What Prometheus can scrape, all in seconds and bytes. How the counters come about, and why they are right after kills
and restarts, is in [monitoring.md](monitoring.md).

| program | started by | port | |
| --- | --- | --- | --- |
| exporter | `stenopool exporter DESTINATION` | 9480 | what batches did, what waits, who works; one per house |
| api | `stenopool serve` | 8200 | its own requests |
| worker | `stenopool worker --pool gpu` | 9481 | its own runs and state |
"""

_EXTENSIONS = fill(" ".join(sorted(IGNORED_EXTENSIONS)), 120)

_ERRORS = f"""{_NOTE}
# Errors

Codes are stable: programs may compare them. An answer of the API is a problem (RFC 9457), whose `type` leads here; a
recording that cannot be transcribed has the same codes in its state, in callbacks and in `stenopool status`. What
happens to a recording with each code: [What happens to my file](what-happens-to-my-file.md).
"""

_FILE = f"""{_NOTE}
# What happens to my file

Every object below the source ends in one of four ways, and no object stops the others.

* **Done**: its transcript and a receipt are at the destination. The next runs skip it. `stenopool status` counts it.
* **Waiting**: it could not be read or written this time, though nothing is wrong with its content. Each run tries it
  again, names it in its table and in `report.json`, and ends with exit code 1, until it is done or excluded.
* **Quarantined**: its content or its name has to change; another try would end the same. `stenopool status` names it.
  The next runs leave it alone. `stenopool retry` tries it again; new content under the same key is a new recording.
* **Passed over**: it is not selected, or not a recording. These are hidden keys (a part begins with a dot) and folder
  markers; what Stenopool itself wrote; what `--exclude`, `--include`, `--prefix` or `--modified-since` leave out; and,
  without `--include`, the extensions below. Everything else is inspected, whatever its name. In a folder, links to
  other folders are not followed, and a folder whose whole content is excluded (`--exclude 'lost+found/*'`) is not
  opened.

A transcript that may not be right says so in its `flags`, and nothing is removed from it.

Extensions that are passed over:
{_EXTENSIONS}

## One object, or the whole store?

A server refuses one forbidden object with the same words as all objects to wrong credentials. So when an object is
refused, missing or unreadable, Stenopool tries the root of its store: can the source be listed, can the destination be
written to? (One request; its answer counts for five seconds.)

* The root answers: the error is this recording's, with one of the codes below. All others are done.
* It does not: no other recording would fare better. The run ends with exit code 2 and the store's own error
  (`ACCESS_DENIED`, `OBJECT_NOT_FOUND`, `STORAGE_UNAVAILABLE`), and no recording is marked. What is done is kept.

Archived storage classes are seen in the listing, so those objects are not opened; a restored one is transcribed.
`stenopool plan` and `stenopool doctor` count what has to be restored first.
"""

_DISPOSITIONS = {
    Disposition.WAIT: ("Waiting", "Tried again by the next run, on its own. Nothing has to be reset."),
    Disposition.QUARANTINE: (
        "Quarantined",
        "Needs a person. After the remedy: `stenopool retry DESTINATION --code CODE`, or upload the object again. "
        "`KEY_UNUSABLE` and `NOT_A_FILE` are seen in the listing and get no receipt: each run names them, until they "
        "are renamed, removed or excluded.",
    ),
    Disposition.STOP: (
        "Not about a file",
        "The run ends with exit code 2, or does not begin. After the remedy, run the same command again. Only a key "
        "that was requested by name (`--only`, notifications, `retry`) and is missing is reported as "
        "`OBJECT_NOT_FOUND` and stops nothing.",
    ),
}

_TRANSCRIPTION = """\
These make the fingerprint: with another value, a recording is transcribed anew.

* A language is a code (`en`, `deu`), a tag or a locale (`pt-BR`, `zh-Hant`, `de_AT.UTF-8`) or an English name. All
  spellings of a language have the same fingerprint.
* What the model cannot do is refused before the work begins, with what would work instead: translation with turbo and
  distil models, languages that the model was not trained on or has no token for (`yue` needs large-v3 or turbo),
  alignment of languages that no model aligns. Public models are recognized by name or digest, others by vocabulary.
* Before each window, a model reads at most 223 tokens of prompt and vocabulary. If they are longer, half of the room is
  for the prompt and half for the vocabulary (what one does not need, the other gets), and the last part of each is
  read. The flag `prompt_shortened` and a line in the log say so.
* Pauses of a second or more are searched for speech once more, at a normal level and with 0.4 of the threshold. What is
  found is transcribed if the model is sure of the text, and dropped if the model hears no speech. Otherwise the
  transcript has the flag `speech_unclear`, and `untranscribed` lists where. The pauses of split channels are not
  searched, because the other party may be heard in them."""

_SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    (
        "What changes a transcript",
        _TRANSCRIPTION,
        TranscriptionOptions,
    ),
    (
        "How it is done here",
        "Outside the fingerprint: changing these makes no recording pending again.",
        ExecutionOptions,
    ),
    (
        "Subtitles",
        "How SRT and WebVTT files look when they are written; outside the fingerprint too. Existing files stay as\n"
        "they are: write one again with `stenopool show TRANSCRIPT --format srt`, or request another style from the\n"
        "API (`GET /v1/recordings/{id}/transcript?format=srt&max_line_width=32`; form fields of the same names at\n"
        "`/v1/audio/transcriptions`). When speakers are given names, the API rewrites the files in the default style.\n"
        "\n"
        "The rules are those of [Netflix's\n"
        "guides](https://partnerhelp.netflixstudios.com/hc/en-us/articles/215758617) for captions in the language\n"
        "spoken. Lines are measured in columns, of which Chinese, Japanese and Korean characters take two, and\n"
        "break where their script allows (Unicode's UAX 14; Thai between words). A cue lasts 0.83 to 7 s, and is\n"
        "held into a pause until it can be read: at 20 characters a second, 14 in Korean, 11 in Chinese, 7 in\n"
        "Japanese; where people speak faster, it is shown while they speak. Cues do not overlap. In SRT, a\n"
        "speaker's label appears where the speaker changes; it does not count as text to read. Lines in Arabic and\n"
        "Hebrew have direction marks (U+202B, U+202C), so that players show them in order.",
        SubtitleOptions,
    ),
    ("Which recordings", "Taken from the source; `stenopool run` and `stenopool plan`.", Selection),
)


def render() -> dict[Path, str]:
    """Each page's path and what should stand in it."""
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
    """The OpenAPI document, as every installation serves it."""
    document = create_app(ApiSettings(), CallbackSettings()).openapi()
    return dict(json.loads(json.dumps(document)))


def _errors() -> str:
    lines = [_ERRORS, "## Of the API alone", ""]
    for code, meaning in sorted(API_CODES.items()):
        lines += [f"### {code}", "", meaning, ""]
    lines += ["## Of recordings, storage and installations", "", "What to do, where nothing more exact is said:", ""]
    for error in ErrorCode:
        lines += [f"### {error}", "", f"{error.meaning} {error.remedy}", ""]
        lines += [f"{_DISPOSITIONS[error.disposition][0]}. As an answer of the API: {status_of(error)}.", ""]
    return "\n".join(lines)


def _file() -> str:
    lines = [_FILE]
    for disposition, (title, text) in _DISPOSITIONS.items():
        lines += [
            f"## {title}",
            "",
            fill(text, 120),
            "",
            "| code | what it means | what to do |",
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
        lines += ["| option | values | default | |", "| --- | --- | --- | --- |"]
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
        lines += [f"## {program}", "", "| metric | kind | labels | |", "| --- | --- | --- | --- |"]
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
    return [f"| {head} | default | |", "| --- | --- | --- |", *rows, ""]


def _row(name: str, *cells: str | None) -> str:
    return " | ".join([f"| `{name}`", *(str(cell or "").replace("|", "\\|") for cell in cells)]) + " |"


def _default(field: FieldInfo) -> str:
    """The default as a reader's machine has it, not this one: home and the temporary folder are named, not resolved."""
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
    """What may be given, in words, from a field's JSON Schema."""
    if "anyOf" in schema:  # this or nothing
        return _values(schema["anyOf"][0])
    if "items" in schema:
        most = f"; {schema['maxItems']} at most" if "maxItems" in schema and "enum" not in schema["items"] else ""
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
