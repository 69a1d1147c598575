"""Each check finds the mistakes that it is meant to find."""

import pytest

from tests.support.terraform.workspace import Workspace

# The mistake: the file, the text to replace, its replacement; and words of Terraform's error.
WRONG = {
    "unknown argument": (
        ("storage/main.tf", "block_public_acls       = true", "block_public_acl        = true"),
        'An argument named "block_public_acl" is not expected here',
    ),
    "wrong type": (
        ("storage/main.tf", "block_public_policy     = true", 'block_public_policy     = "perhaps"'),
        "a bool is required",
    ),
    "missing argument": (
        ("database/main.tf", "  instance_class = var.instance_class\n", ""),
        'The argument "instance_class" is required',
    ),
    "unknown block": (
        ("cluster/main.tf", "  vpc_config {\n", "  network_config {\n"),
        'Blocks of type "network_config" are not expected here',
    ),
    "missing block": (
        ("storage/main.tf", '  versioning_configuration { status = "Enabled" }\n', ""),
        'At least 1 "versioning_configuration" blocks are required',
    ),
    "unknown resource": (
        ("registry/main.tf", 'resource "aws_ecr_lifecycle_policy"', 'resource "aws_ecr_life_policy"'),
        'does not support resource type "aws_ecr_life_policy"',
    ),
    "unknown result": (
        ("cache/outputs.tf", "primary_endpoint_address", "primary_address"),
        "This object has no argument, nested block, or exported attribute",
    ),
    "secret in the state": (
        ("prefect/main.tf", "  data_wo = {\n    # Prefect", "  data = {\n    # Prefect"),
        "Ephemeral values are not valid",
    ),
    "a block of Helm's provider 2": (
        ("scaling/main.tf", 'chart      = "nvidia-device-plugin"', 'chart = "x"\n  set {\n    name = "y"\n  }'),
        'Blocks of type "set" are not expected here',
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_validate_finds_a_mistake(spoilt: Workspace, mistake: str) -> None:
    (file, old, new), complaint = WRONG[mistake]
    spoilt.replace(f"modules/{file}", old, new)
    complaints = spoilt.complaints(f"modules/{file.partition('/')[0]}")
    assert any(complaint in found for found in complaints), complaints


def test_validate_finds_a_misused_module(spoilt: Workspace) -> None:
    spoilt.replace("stacks/cloud/main.tf", "bucket_arns        = module.storage.bucket_arns", "buckets = {}")
    found = "\n".join(spoilt.complaints("stacks/cloud"))
    assert 'The argument "bucket_arns" is required' in found
    assert 'An argument named "buckets" is not expected here' in found


# Valid but wrong: the module's own tests must find it.
RISKY = {
    "no label": (
        "nodes/main.tf",
        '"accelerator"                   = "nvidia"',
        '"accelerator"                   = "yes"',
    ),
    "no taint": ("nodes/main.tf", 'effect = "NO_SCHEDULE"', 'effect = "PREFER_NO_SCHEDULE"'),
    "never empty": ("nodes/main.tf", "{ min_size = 0 }", "{ min_size = 1 }"),
    "no disk from zero": ("nodes/main.tf", '"ephemeral-storage" =', '"storage" ='),
    "two nodes from zero": ("nodes/main.tf", '"k8s.amazonaws.com/accelerator" =', '"example.org/accelerator" ='),
    "old nodes": ("nodes/main.tf", "  version                = var.kubernetes_version\n", ""),
    "old images": ("nodes/main.tf", "/${var.kubernetes_version}/", "/1.30/"),
    "old add-ons": ("cluster/nodes.tf", "  addon_version               = each.value.version\n", ""),
    "no taint in Auto Mode": ("scaling/main.tf", "taints       = [local.taint]", "taints       = []"),
    "policies not enforced": ("scaling/main.tf", 'controller = "true"', 'controller = "false"'),
    "image from the internet": ("scaling/main.tf", '"${var.mirror}/${name}"', '"registry.k8s.io/${name}"'),
    "other buckets": ("network/endpoints.tf", '"aws:ResourceAccount"', '"aws:PrincipalAccount"'),
    "one snapshot": ("database/main.tf", '-${trimprefix(aws_security_group.this.id, "sg-")}', ""),
    "may be public": ("storage/main.tf", "restrict_public_buckets = true", "restrict_public_buckets = false"),
    "no TLS": ("storage/main.tf", '"aws:SecureTransport" = "false"', '"aws:SecureTransport" = "true"'),
    "transcripts expire": ("storage/lifecycle.tf", "prefix = local.work_prefix", 'prefix = ""'),
    "lists too much": ("identity/main.tf", '["${place.prefix}/*"]', '["${place.prefix}*"]'),
    "reads too much": ("identity/main.tf", '"${place.prefix}/"}*"', '"${place.prefix}"}*"'),
    "GPU reads recordings": ("identity/main.tf", "gpu = { source = []", "gpu = { source = local.read"),
    "any namespace's pods": (
        "identity/main.tf",
        '"aws:RequestTag/kubernetes-namespace"       = local.namespaces[each.key]\n',
        "",
    ),
    "S3 is paid for": ("network/endpoints.tf", '= "Gateway"', '= "Interface"'),
    "API on the internet": ("cluster/main.tf", "= length(var.public_access_cidrs) > 0\n", "= true\n"),
    "API open to the internet": ("cluster/variables.tf", 'cidrs, "0.0.0.0/0")', 'cidrs, "0.0.0.0/1")'),
    "sizes other clusters": ("nodes/addons.tf", '"owned" } }', '"*" } }'),
    "public database": ("database/main.tf", "publicly_accessible    = false", "publicly_accessible    = true"),
    "pods may be root": ("prefect/main.tf", 'enforce" = "restricted"', 'enforce" = "baseline"'),
    "runs near the secrets": ("prefect/variables.tf", "!= var.namespace", '!= ""'),
    "load balancer refused": ("chart/main.tf", "[] : [var.ingress.cidr]", "[] : []"),
    "no names in Auto Mode": ("chart/main.tf", '"${var.dns_address}/32"', '"169.254.20.10/32"'),
    "exporter writes more": ("identity/main.tf", '{ names = [".metrics"]', '{ names = [".metrics", ".api"]'),
    "watch may not read": ("identity/main.tf", 'for queue in role == "cpu"', 'for queue in role == "gpu"'),
    "alarm inverted": (
        "observability/main.tf",
        '"LessThanThreshold", threshold = 3',
        '"GreaterThanThreshold", threshold = 3',
    ),
}


@pytest.mark.parametrize("mistake", RISKY)
def test_the_modules_tests_find_a_mistake(spoilt: Workspace, mistake: str) -> None:
    file, old, new = RISKY[mistake]
    module = f"modules/{file.partition('/')[0]}"
    spoilt.replace(f"modules/{file}", old, new)
    assert spoilt.complaints(module) == []
    result = spoilt.test(module)
    assert result.returncode == 1, result.stdout
    assert "Test assertion failed" in result.stderr or "Missing expected failure" in result.stderr, result.stderr


def test_fmt_finds_bad_formatting(spoilt: Workspace) -> None:
    spoilt.replace("modules/registry/main.tf", "force_delete         = var", "force_delete = var")
    assert spoilt.run(".", "fmt", "-check", "-recursive").returncode == 3
