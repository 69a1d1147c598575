"""Rules for all our code, checked on its syntax trees. Each finding is (line, rule)."""

import ast
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "stenopool",
    "flows",
    "api",
    "blocks",
    "deployments",
    "workers",
    "monitoring",
    "benchmarks",
    "docs",
    "terraform",
)

# Modules whose data formats execute code when read.
_UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_UNSAFE_CALLS = {
    "eval": "executes text as code",
    "exec": "executes text as code",
    "compile": "creates code from text",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "subprocess.getoutput": "starts a shell",
    "subprocess.getstatusoutput": "starts a shell",
    "asyncio.create_subprocess_shell": "starts a shell",
    "tempfile.mktemp": "leaves a name that others can use first",
    "yaml.load": "creates any object (use yaml.safe_load)",
    "yaml.unsafe_load": "creates any object (use yaml.safe_load)",
    "yaml.full_load": "creates any object (use yaml.safe_load)",
    "torch.jit.load": "executes what it loads",
    "torch.hub.load": "executes what it downloads",
    "xml.etree.ElementTree.parse": "expands entities",
    "xml.etree.ElementTree.fromstring": "expands entities",
}
_LOADERS = {"torch.load"}  # allowed with weights_only=True, spelled out
_OPEN_TO_ALL = 0o022  # only the owner may write


def findings(source: str) -> Iterator[tuple[int, str]]:
    """Violations of the rules in a module's source text."""
    tree = ast.parse(source)
    names = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node.lineno, f"{module} runs code when it reads") for module in modules if _unsafe(module))
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, text) for text in _call(node, names))
        if isinstance(node, ast.List | ast.Tuple | ast.Call):
            parts = node.args if isinstance(node, ast.Call) else node.elts
            if _starts_python(parts, names):
                yield node.lineno, "Python without -P imports from the current folder (use processes.python_command)"


def _unsafe(module: str) -> bool:
    return module.split(".")[0] in _UNSAFE_MODULES


def _imported(tree: ast.AST) -> dict[str, str]:
    """The module or object behind each imported name, wherever it is imported."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    called = _dotted(node.func, names)
    arguments = {word.arg: word.value for word in node.keywords if word.arg}
    if called in _UNSAFE_CALLS:
        yield f"{called} {_UNSAFE_CALLS[called]}"
    if called in _LOADERS and not _is(arguments.get("weights_only"), True):
        yield f"{called} without weights_only=True runs code"
    if called in ("numpy.load", "np.load") and not _is(arguments.get("allow_pickle", ast.Constant(False)), False):
        yield f"{called} with allow_pickle runs code"
    if "shell" in arguments and not _is(arguments["shell"], False):
        yield f"{called} with shell=True starts a shell"
    if "trust_remote_code" in arguments and not _is(arguments["trust_remote_code"], False):
        yield f"{called} runs code that comes with the weights"
    if "result_serializer" in arguments and "pickle" in ast.unparse(arguments["result_serializer"]).lower():
        yield f"{called} keeps results as pickle"
    yield from _modes(called, node, arguments)


def _starts_python(parts: Sequence[ast.expr], names: dict[str, str]) -> bool:
    """Whether a command runs Python without -P as its first option. A name alone, as in ``Path(sys.executable)``, is
    not a command.
    """
    for part, option in itertools.pairwise(parts):
        named = isinstance(part, ast.Name | ast.Attribute) and _dotted(part, names)
        if named == "sys.executable":
            return not (isinstance(option, ast.Constant) and option.value == "-P")
    return False


def _modes(called: str, node: ast.Call, arguments: dict[str, ast.expr]) -> Iterator[str]:
    """Files and folders that others may write to; a predictable path in /tmp that anybody can create first."""
    last = called.rpartition(".")[2]
    if last in ("chmod", "mkdir", "makedirs", "mkfifo"):
        for value in [*node.args, *arguments.values()]:
            if isinstance(value, ast.Constant) and type(value.value) is int and value.value & _OPEN_TO_ALL & 0o002:
                yield f"{called} lets everybody write"
    if called == "os.umask" and any(isinstance(a, ast.Constant) and not a.value & 0o002 for a in node.args):
        yield f"{called} lets everybody write"
    if last in ("open", "write_text", "write_bytes", "mkdir", "Path", "NamedTemporaryFile"):
        for value in ast.walk(node):
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.startswith("/tmp/"):
                yield f"{called}: a name in /tmp that anybody can take first (tempfile)"


def _is(value: ast.expr | None, constant: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is constant


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of the called function, with import aliases resolved; "?" if it has no name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ".".join(["?", *reversed(parts)])
    return ".".join([names.get(node.id, node.id), *reversed(parts)])
