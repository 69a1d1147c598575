"""The schemas read from the wheels match the providers' documentation."""

from tests.support.terraform.schemas import Attribute, Block, ProviderSchema


def _attribute(block: Block, name: str) -> Attribute:
    (found,) = [attribute for attribute in block.attributes if attribute.name == name]
    return found


def test_every_type_in_our_modules_is_known(schemas: dict[str, ProviderSchema]) -> None:
    known = sum(len(s.resources) + len(s.data_sources) + len(s.ephemeral) for s in schemas.values())
    assert known > 50
    assert {"aws_eks_node_group", "aws_s3_bucket"} <= schemas["aws"].resources.keys()
    assert "aws_availability_zones" in schemas["aws"].data_sources
    assert "aws_secretsmanager_secret_version" in schemas["aws"].ephemeral.keys() & schemas["aws"].resources.keys()


def test_blocks_have_their_limits(schemas: dict[str, ProviderSchema]) -> None:
    blocks = {b.name: b for b in schemas["aws"].resources["aws_eks_cluster"].blocks}
    assert (blocks["vpc_config"].nesting, blocks["vpc_config"].least, blocks["vpc_config"].most) == ("LIST", 1, 1)
    assert (blocks["timeouts"].nesting, blocks["timeouts"].least) == ("SINGLE", 0)
    assert _attribute(blocks["vpc_config"].block, "subnet_ids").type == ["set", "string"]
    assert _attribute(blocks["vpc_config"].block, "subnet_ids").required


def test_results_have_their_types(schemas: dict[str, ProviderSchema]) -> None:
    authority = _attribute(schemas["aws"].resources["aws_eks_cluster"], "certificate_authority")
    assert authority.type == ["list", ["object", {"data": "string"}]]
    assert authority.computed
    assert not authority.optional


def test_some_blocks_are_arguments_with_objects(schemas: dict[str, ProviderSchema]) -> None:
    ingress = _attribute(schemas["aws"].resources["aws_security_group"], "ingress")
    assert ingress.type[0] == "set"
    assert ingress.type[1][1]["from_port"] == "number"


def test_write_only_arguments_are_known(schemas: dict[str, ProviderSchema]) -> None:
    assert _attribute(schemas["kubernetes"].resources["kubernetes_secret_v1"], "data_wo").write_only
    assert not _attribute(schemas["kubernetes"].resources["kubernetes_secret_v1"], "data").write_only


def test_nested_arguments_of_protocol_6_are_known(schemas: dict[str, ProviderSchema]) -> None:
    release = schemas["helm"].resources["helm_release"]
    assert release.blocks == []
    assert _attribute(release, "set").nesting == "LIST"
    (kubernetes,) = [a for a in schemas["helm"].provider.attributes if a.name == "kubernetes"]
    assert {"host", "exec"} <= {inside.name for inside in kubernetes.nested or ()}


def test_a_providers_own_blocks_are_known(schemas: dict[str, ProviderSchema]) -> None:
    assert {"default_tags", "assume_role"} <= {block.name for block in schemas["aws"].provider.blocks}
    assert "alias" not in {attribute.name for attribute in schemas["aws"].provider.attributes}
