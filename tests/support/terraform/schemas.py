"""Reads provider schemas from the cdktn wheels.

The wheels hold JavaScript that a generator wrote from `terraform providers schema -json`. It names every argument
twice: in a comment (`// bucket - computed: true, optional: true, required: false`) followed by the code that reads it,
which has the type, and in a table that separates blocks from plain arguments. Both are combined here.

Not in the wheels, so not checked: the providers' checks in code (allowed values, formats), conflicts between arguments,
and which outputs are sensitive. Types that the generator spread over several files (Kubernetes' pods) cannot be read.
"""

import json
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ATTRIBUTE = re.compile(r"// (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n")
COMPLEX = re.compile(r"= new (?:cdktn\.)?(\w+?)(List|Map|OutputReference)\(this, \"\w+\"(?:, (true|false))?\)")
GETTER = re.compile(r"(tolist\()?this\.get(\w*?)Attribute\(")
TABLE_ROW = re.compile(
    r"(\w+): \{\n\s+value: .*,\n\s+isBlock: (true|false),\n\s+type: \"(\w+)\",\n\s+storageClassType: \"(\w+)\""
)
CLASS = re.compile(r"^class (\w+) extends cdktn\.(\w+) \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
FUNCTION = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{$(.*?)^\}$", re.MULTILINE | re.DOTALL)
TYPE_NAME = re.compile(r'static tfResourceType = "(\w+)"')
NESTING = {"struct": "SINGLE", "list": "LIST", "set": "SET", "map": "MAP"}

# Terraform's names of the simple types, by those of the generator.
PRIMITIVES = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic", "": "string"}


@dataclass
class Attribute:
    """An argument or a result. It has either `type` (in cty's JSON) or `nested`, with its `nesting`."""

    name: str
    type: Any = None
    nested: "list[Attribute] | None" = None
    nesting: str = ""
    required: bool = False
    optional: bool = False
    computed: bool = False
    write_only: bool = False


@dataclass
class NestedBlock:
    """A block inside a block; `most` is 0 if there is no limit."""

    name: str
    block: "Block"
    nesting: str
    least: int
    most: int


@dataclass
class Block:
    """The allowed contents of a block."""

    attributes: list[Attribute] = field(default_factory=list)
    blocks: list[NestedBlock] = field(default_factory=list)


@dataclass
class ProviderSchema:
    """The requested part of one provider's schema."""

    source: str
    version: str
    provider: Block = field(default_factory=Block)
    resources: dict[str, Block] = field(default_factory=dict)
    data_sources: dict[str, Block] = field(default_factory=dict)
    ephemeral: dict[str, Block] = field(default_factory=dict)


def used_types(folder: Path) -> set[str]:
    """Every type that a .tf file below the folder declares; data sources as ``data_<type>`` and so on."""
    declared = re.compile(r'^\s*(resource|data|ephemeral)\s+"(\w+)"', re.MULTILINE)
    found = [pair for file in folder.rglob("*.tf") for pair in declared.findall(file.read_text())]
    return {type_name if kind == "resource" else f"{kind}_{type_name}" for kind, type_name in found}


def read_schema(wheel: Path, types: Iterable[str]) -> ProviderSchema:
    """The schema of the wheel's provider and of those `types` that it has; Terraform itself will refuse others."""
    with zipfile.ZipFile(wheel) as archive:
        (bundle,) = [name for name in archive.namelist() if name.endswith(".jsii.tgz")]
        with archive.open(bundle) as compressed:
            return _read_bundle(compressed, set(types))


def _read_bundle(compressed: IO[bytes], types: set[str]) -> ProviderSchema:
    sources: dict[str, str] = {}
    described: dict[str, str] = {}
    folders = _folders(types) | {"provider"}
    with tarfile.open(fileobj=compressed, mode="r|gz") as bundle:
        for member in bundle:
            path = member.name.removeprefix("package/")
            if path == "package.json":
                described = json.loads(_text(bundle, member))["cdktn"]["provider"]
            elif path.endswith("/index.js") and (folder := path.split("/")[-2]) in folders:
                sources[folder] = _text(bundle, member)
    schema = ProviderSchema(described["name"], described["version"])
    # Helm's provider is written for protocol 6: apparent blocks are arguments (`set = [{...}]`).
    nested_attributes = described["name"].endswith("/helm")
    for source in sources.values():
        module = _Module(source, nested_attributes)
        for kind, body in module.entries():
            block = module.block(body)
            if kind == "TerraformProvider":
                schema.provider = Block([a for a in block.attributes if a.name != "alias"], block.blocks)
            elif match := TYPE_NAME.search(body):
                {
                    "TerraformResource": schema.resources,
                    "TerraformDataSource": schema.data_sources,
                    "TerraformEphemeralResource": schema.ephemeral,
                }[kind][match[1]] = block
    return schema


def _text(bundle: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = bundle.extractfile(member)
    return file.read().decode() if file else ""


def _folders(types: set[str]) -> set[str]:
    """Folders are named after the type; a resource's folder lacks the provider's name."""
    names = {name if name.startswith(("data_", "ephemeral_")) else name.partition("_")[2] for name in types}
    return {name.replace("_", "-") for name in names}


class _Module:
    """One JavaScript file: a resource, a data source or the provider, and the types nested in it."""

    def __init__(self, source: str, nested_attributes: bool) -> None:
        source = source.partition("//# sourceMappingURL")[0]
        self.classes = {name: (kind, body) for name, kind, body in CLASS.findall(source)}
        self.tables = {name: _table(body) for name, body in FUNCTION.findall(source)}
        self.nested_attributes = nested_attributes

    def entries(self) -> Iterator[tuple[str, str]]:
        """The classes that Terraform names, each with its kind and its text."""
        kinds = ("TerraformProvider", "TerraformResource", "TerraformDataSource", "TerraformEphemeralResource")
        return ((kind, body) for kind, body in self.classes.values() if kind in kinds)

    def block(self, body: str, table: "dict[str, _Row] | None" = None) -> Block:
        """A class's arguments, results and nested blocks."""
        table = _table(body) if table is None else table
        block = Block()
        for name, computed, optional, required, code in _attributes(body):
            row = table.get(name)
            flags: Any = {"required": required, "optional": optional, "computed": computed}
            flags["write_only"] = name.endswith("_wo")
            if row is None or not row.is_block:
                block.attributes.append(Attribute(name, self._type(code, row), **flags))
                continue
            inside = self._struct(row.element)
            if computed:  # blocks do not have this: it is an argument of objects that may be written like a block
                block.attributes.append(Attribute(name, _container(row.type, _object(inside)), **flags))
            elif self.nested_attributes:
                block.attributes.append(Attribute(name, None, inside.attributes, NESTING[row.type], **flags))
            else:
                match = COMPLEX.search(code)
                one = row.type != "struct" and match is not None and match[2] == "OutputReference"
                least = int(required)
                block.blocks.append(NestedBlock(name, inside, NESTING[row.type], least, int(one)))
        return block

    def _struct(self, name: str) -> Block:
        table = self.tables.get(name[0].lower() + name[1:], {})
        if f"{name}OutputReference" in self.classes:
            return self.block(self.classes[f"{name}OutputReference"][1], table)
        # The provider's own blocks have only a table, which does not say which arguments are required.
        block = Block()
        for key, row in table.items():
            if row.is_block:
                inside = self._struct(row.element)
                if self.nested_attributes:
                    block.attributes.append(Attribute(key, None, inside.attributes, NESTING[row.type], optional=True))
                else:
                    block.blocks.append(NestedBlock(key, inside, NESTING[row.type], 0, 0))
            else:
                block.attributes.append(Attribute(key, _plain_type(row), optional=True))
        return block

    def _type(self, code: str, row: "_Row | None") -> Any:
        if row is not None:
            return _plain_type(row)
        if match := COMPLEX.search(code):
            base, shape, from_set = match.groups()
            if base in ("String", "Number", "Boolean"):
                return ["map", PRIMITIVES[base.lower()]]
            inside = _object(self._struct(base))
            kind = {"List": "set" if from_set == "true" else "list", "Map": "map", "OutputReference": "struct"}[shape]
            return _container(kind, inside)
        if "interpolationForAttribute" in code:
            return "dynamic"
        match = GETTER.search(code)
        if match is None:
            raise ValueError(f"no type found in: {code[:300]}")
        as_set, word = match.groups()
        if word.endswith(("Map", "List")):
            kind = "map" if word.endswith("Map") else "set" if as_set else "list"
            return [kind, PRIMITIVES[word.removesuffix("Map").removesuffix("List").lower()]]
        return PRIMITIVES[word.lower()]


@dataclass
class _Row:
    is_block: bool
    type: str
    storage: str

    @property
    def element(self) -> str:
        return self.storage if self.type == "struct" else re.sub(r"(List|Map)$", "", self.storage)


def _table(body: str) -> dict[str, _Row]:
    return {name: _Row(block == "true", kind, storage) for name, block, kind, storage in TABLE_ROW.findall(body)}


def _attributes(body: str) -> Iterator[tuple[str, bool, bool, bool, str]]:
    found = list(ATTRIBUTE.finditer(body))
    ends = [match.start() for match in found[1:]] + [len(body)]
    for match, end in zip(found, ends, strict=False):  # a class may have none
        flags = [word == "true" for word in match.groups()[1:]]
        yield match[1], flags[0], flags[1], flags[2], body[match.end() : end]


def _plain_type(row: _Row) -> Any:
    """`stringListMap` is map(list(string)); a set differs from a list only in the row's type."""
    words = re.findall(r"[a-z]+|[A-Z][a-z]+", row.storage)
    result: Any = PRIMITIVES[words[0]]
    for word in words[1:]:
        result = [word.lower(), result]
    if row.type == "set":
        result[0] = "set"
    return result


def _container(kind: str, element: Any) -> Any:
    return element if kind == "struct" else [kind, element]


def _object(block: Block) -> Any:
    fields = {attribute.name: attribute.type for attribute in block.attributes}
    fields |= {nested.name: _container(nested.nesting.lower(), _object(nested.block)) for nested in block.blocks}
    return ["object", fields]
