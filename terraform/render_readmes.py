"""The READMEs' tables of inputs and outputs: `python -m terraform.render_readmes` writes them, a test checks them."""

import re
from pathlib import Path

ROOT = Path(__file__).parent
MARK = "<!-- Below here: python -m terraform.render_readmes -->"


def render(folder: Path) -> str:
    """The expected README: the text above the mark, then tables of the declared inputs and outputs."""
    prose = (folder / "README.md").read_text(encoding="utf-8").partition(MARK)[0].rstrip()
    return "\n".join([prose, "", MARK, "", *_table_of_inputs(folder), "", *_table_of_outputs(folder)]) + "\n"


def _declared(file: Path, kind: str) -> list[tuple[str, str]]:
    if not file.exists():
        return []
    return re.findall(rf'^{kind} "(\w+)" {{$(.*?)^}}$', file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _field(body: str, name: str) -> str | None:
    match = re.search(rf"^  {name}\s+= (.*?)(?=^  \w+ +=|^  \w+ {{|\Z)", body, re.MULTILINE | re.DOTALL)
    return re.sub(r"\s+", " ", match[1]).strip() if match else None


def _description(body: str) -> str:
    return (_field(body, "description") or "").strip('"').replace('\\"', '"').replace("|", "\\|")


def _table_of_inputs(folder: Path) -> list[str]:
    lines = ["| input | what it is | default |", "| --- | --- | --- |"]
    for name, body in _declared(folder / "variables.tf", "variable"):
        default = _field(body, "default")
        shown = "required" if default is None else f"`{default}`" if len(default) < 80 else "see variables.tf"
        lines.append(f"| `{name}` | {_description(body)} | {shown} |")
    return lines


def _table_of_outputs(folder: Path) -> list[str]:
    lines = ["| output | what it is |", "| --- | --- |"]
    lines += [f"| `{name}` | {_description(body)} |" for name, body in _declared(folder / "outputs.tf", "output")]
    return lines


if __name__ == "__main__":
    for kind in ("modules", "stacks"):
        for module in sorted((ROOT / kind).iterdir()):
            (module / "README.md").write_text(render(module), encoding="utf-8")
