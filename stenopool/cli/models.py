"""``stenopool models``: list, download, mirror and verify model weights."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from stenopool import models as store
from stenopool.cli.display import err, out, print_line
from stenopool.cli.parameters import JsonFlag
from stenopool.languages import find_language
from stenopool.models.sources import ModelKind
from stenopool.orchestration.blocks.locations import open_location
from stenopool.runtime.logs import printable

app = typer.Typer(help="List, download, mirror and verify model weights.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Model name, owner/name on the Hugging Face Hub, or path.")
]
NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAMES...", help="Model names, as in `stenopool models list`.")
]
KindOption = Annotated[
    ModelKind,
    typer.Option(
        "--kind",
        help="Format: ctranslate2 (faster-whisper, whisperx), openai (whisper), wav2vec2 (word alignment, by "
        "language) or pyannote (diarizer).",
    ),
]


@app.command("list")
def list_(kind: KindOption = "ctranslate2", as_json: JsonFlag = False) -> None:
    """List the known models: where each comes from, and whether this machine has it.

    Example: stenopool models list --kind wav2vec2
    """
    known = [model for model in store.list_models() if model.kind == kind]
    missing = {True: "not downloaded", False: "not pinned"}
    rows = [
        (
            model.name,
            model.origin,
            "available" if model.at_hand else missing[store.is_pinned(model.name, kind)],  # codespell:ignore
        )
        for model in known
    ]
    _print_models(as_json, [model._asdict() for model in known], ("model", "source", "status"), rows)


@app.command()
def path(name: NameArgument, kind: KindOption = "ctranslate2") -> None:
    """Print the local folder of a model, and nothing else. Downloads the model if needed.

    Example: stenopool run calls transcripts --model "$(stenopool models path base)"
    """
    print(store.find(_resolve(name, kind), kind).path)


@app.command()
def fetch(names: NamesArgument, kind: KindOption = "ctranslate2", as_json: JsonFlag = False) -> None:
    """Download models; print where each comes from, its folder and its SHA-256.

    Example: stenopool models fetch large-v3 turbo
    """
    found = [(name, store.find(name, kind)) for name in (_resolve(name, kind) for name in names)]
    fetched = [
        {"name": name, "kind": kind, "origin": one.origin, "path": str(one.path), "sha256": one.digest}
        for name, one in found
    ]
    rows = [(name, one.origin, one.digest[:12], str(one.path)) for name, one in found]
    _print_models(as_json, fetched, ("model", "source", "sha256", "path"), rows)


@app.command()
def mirror(
    names: NamesArgument,
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="A folder, s3://bucket/prefix or a block.")],
    kind: KindOption = "ctranslate2",
    as_json: JsonFlag = False,
) -> None:
    """Copy models to a mirror, for machines without internet access (STENOPOOL_MODELS__MIRROR).

    Example: stenopool models mirror base large-v3 s3://weights/stenopool
    """
    written = store.mirror([(_resolve(name, kind), kind) for name in names], open_location(destination))
    if as_json:
        print(json.dumps({"mirror": destination, "models": written.entries, "sha256": written.sha256}))
    else:
        print_line(f"{destination} contains {', '.join(written.entries)}")
        print_line(f"STENOPOOL_MODELS__MIRROR_SHA256={written.sha256}")


@app.command()
def pin(names: NamesArgument, kind: KindOption = "ctranslate2", as_json: JsonFlag = False) -> None:
    """Download the current version of models from the hub, and accept only that version from now on.

    Prints the pins (the commit, and the SHA-256 of each file) and adds them to the file STENOPOOL_MODELS__PINS. Copy it
    to your other machines. Many public models are already pinned.

    Example: stenopool models pin de fr --kind wav2vec2
    """
    pinned = [store.pin_model(_resolve(name, kind), kind) for name in names]
    if as_json:
        print(json.dumps({"models": [{"path": str(path), "pin": written} for path, written in pinned]}))
    else:
        print("\n".join(written for _, written in pinned), end="")


@app.command()
def verify(as_json: JsonFlag = False) -> None:
    """Compare all downloaded models with their checksums. Exits with 1 if one is damaged.

    Example: stenopool models verify
    """
    results = store.verify()
    found = [result._asdict() | {"path": str(result.path)} for result in results]
    rows = [(str(result.path), str(result.files), ", ".join(result.damaged) or "none") for result in results]
    _print_models(as_json, found, ("model", "files", "damaged"), rows)
    if any(result.damaged for result in results):
        print_line("Delete the damaged folders and run `stenopool models fetch` again.", err)
        raise typer.Exit(1)


def _resolve(name: str, kind: ModelKind) -> str:
    """Return a model's name; word aligners are named after languages, in any spelling."""
    return (find_language(name) if kind == "wav2vec2" else None) or name


def _print_models(
    as_json: bool, models: list[dict[str, Any]], heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]
) -> None:
    """Print models as a JSON object, or as a table with whole paths and without markup."""
    if as_json:
        print(json.dumps({"models": models}))
        return
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    out.print(table)
