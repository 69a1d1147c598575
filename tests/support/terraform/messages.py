"""The messages of Terraform's plugin protocol 6 that carry a schema; fields and numbers as in `tfplugin6.proto`."""

import json
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.support.terraform.schemas import Attribute, Block, NestedBlock, ProviderSchema

PACKAGE = "tfplugin6"
NESTING = {"SINGLE": 1, "LIST": 2, "SET": 3, "MAP": 4}
FIELDS = {
    "Schema": "version=1 int64, block=2 Block",
    "Block": "attributes=2 Attribute*, block_types=3 NestedBlock*",
    "Attribute": "name=1 string, type=2 bytes, required=4 bool, optional=5 bool, computed=6 bool, "
    "nested_type=10 Object, write_only=11 bool",
    "NestedBlock": "type_name=1 string, block=2 Block, nesting=3 int64, min_items=4 int64, max_items=5 int64",
    "Object": "attributes=1 Attribute*, nesting=3 int64",
    # On the wire a map is a repeated message of keys and values.
    "Entry": "key=1 string, value=2 Schema",
    "Schemas": "provider=1 Schema, resource_schemas=2 Entry*, data_source_schemas=3 Entry*, "
    "ephemeral_resource_schemas=8 Entry*",
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="schemas.proto", package=PACKAGE, syntax="proto3")
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for text in fields.split(", "):
            name, _, rest = text.partition("=")
            number, _, kind = rest.partition(" ")
            field = described.field.add(name=name, number=int(number), label=3 if kind.endswith("*") else 1)
            kind = kind.removesuffix("*")
            if kind in FIELDS:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in FIELDS}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in names.items()}


_MESSAGES = _message_classes()


def encode(schema: ProviderSchema) -> bytes:
    """The response to GetProviderSchema."""
    schemas = _MESSAGES["Schemas"](
        provider=_schema(schema.provider),
        resource_schemas=[_entry(*item) for item in schema.resources.items()],
        data_source_schemas=[_entry(*item) for item in schema.data_sources.items()],
        ephemeral_resource_schemas=[_entry(*item) for item in schema.ephemeral.items()],
    )
    return bytes(schemas.SerializeToString())


def _entry(name: str, block: Block) -> Any:
    return _MESSAGES["Entry"](key=name, value=_schema(block))


def _schema(block: Block) -> Any:
    return _MESSAGES["Schema"](block=_block(block))


def _block(block: Block) -> Any:
    attributes = [_attribute(attribute) for attribute in block.attributes]
    return _MESSAGES["Block"](attributes=attributes, block_types=[_nested_block(nested) for nested in block.blocks])


def _nested_block(nested: NestedBlock) -> Any:
    return _MESSAGES["NestedBlock"](
        type_name=nested.name,
        block=_block(nested.block),
        nesting=NESTING[nested.nesting],
        min_items=nested.least,
        max_items=nested.most,
    )


def _attribute(attribute: Attribute) -> Any:
    message = _MESSAGES["Attribute"](
        name=attribute.name,
        required=attribute.required,
        optional=attribute.optional,
        computed=attribute.computed,
        write_only=attribute.write_only,
    )
    if attribute.nested is None:
        message.type = json.dumps(attribute.type).encode()
    else:
        inside = [_attribute(each) for each in attribute.nested]
        message.nested_type.CopyFrom(_MESSAGES["Object"](attributes=inside, nesting=NESTING[attribute.nesting]))
    return message
