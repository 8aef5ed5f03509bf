"""Published request limits by kind of provider, and the budget the portal starts with.

A limit is what the provider refuses beyond; the budget is what all workers together take of it until an officer says
otherwise. Kinds that are absent publish none: their limit is the machine they run on.
"""

from keys.providers.base import Quota

_AWS_PAGE = "AWS KMS Developer Guide, Request quotas (requests-per-second)"
_GCP_PAGE = "Cloud KMS, Quotas (60,000 cryptographic requests a minute; HSM 3,000; reads 300)"
_AZURE_PAGE = "Key Vault service limits (4,000 transactions in ten seconds a vault; HSM keys 2,000)"

# Per account and region; management is that of DescribeKey's family, while CreateKey has 5 a second.
QUOTAS: dict[str, Quota] = {
    "aws_kms": Quota(symmetric=10_000, asymmetric=1_000, management=2_000, source=_AWS_PAGE, read_on="2026-11-23"),
    "gcp_kms": Quota(symmetric=1_000, asymmetric=50, management=5, source=_GCP_PAGE, read_on="2026-11-25"),
    "azure_kv": Quota(symmetric=400, asymmetric=200, management=400, source=_AZURE_PAGE, read_on="2026-11-25"),
}

# Regions where AWS's shared quota of symmetric operations is larger than elsewhere.
AWS_SYMMETRIC_BY_REGION: dict[str, int] = {
    "us-east-1": 100_000, "us-west-2": 100_000, "eu-west-1": 100_000,
    "us-east-2": 20_000, "ap-southeast-1": 20_000, "ap-southeast-2": 20_000, "ap-northeast-1": 20_000,
    "eu-central-1": 20_000, "eu-west-2": 20_000,
}  # fmt: skip

# Calls a second; far under the quota on purpose, since other programs of the account share it.
BUDGETS: dict[str, int] = {
    "aws_kms": 100, "gcp_kms": 500, "azure_kv": 100, "vault_transit": 500, "pkcs11": 200, "kmip": 100,
}  # fmt: skip
OTHER_BUDGET = 100

# Keys made, disabled or destroyed a second, by all workers: AWS CreateKey 5, Google 60 writes a minute, Azure CREATE 10
# in ten seconds for HSM keys.
CHANGES: dict[str, float] = {"aws_kms": 5, "gcp_kms": 1, "azure_kv": 1}
OTHER_CHANGES = 10


def quota_of(kind: str, region: str = "") -> Quota | None:
    """The published limit of a kind of provider, None where there is none."""
    quota = QUOTAS.get(kind)
    larger = AWS_SYMMETRIC_BY_REGION.get(region) if kind == "aws_kms" else None
    if quota is None or larger is None:
        return quota
    return Quota(larger, quota.asymmetric, quota.management, quota.source, quota.read_on)
