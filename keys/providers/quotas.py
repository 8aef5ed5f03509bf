"""What providers let a customer call, in one table, and the budgets that follow from it.

A budget is for background work over all workers; what a published quota leaves above it is kept for callers who wait.
"""

from collections.abc import Mapping

from keys.providers.base import Quota

QUOTAS: Mapping[str, Quota] = {
    "aws_kms": Quota(
        10_000, 1_000, 5, "AWS KMS Developer Guide, Request quotas (most regions; CreateKey)", "2026-11-25"
    ),
    "gcp_kms": Quota(1_000, 50, 1, "Cloud KMS, Quotas (60,000 cryptographic, 60 write requests a minute)", "2026-11-25"),
    "azure_kv": Quota(400, 200, 2, "Key Vault service limits (a vault, in ten seconds: 4,000, HSM 2,000, CREATE 20)", "2026-11-25"),
}  # fmt: skip

# Calls a second of background work where nobody chose otherwise. AWS starts at the careful figure of a new account;
# servers of one's own publish no quota: theirs is what one server of modest size answers without a queue.
DEFAULT_BUDGETS: Mapping[str, int] = {
    "aws_kms": 100, "gcp_kms": 500, "azure_kv": 150, "vault_transit": 500, "pkcs11": 200, "kmip": 100,
}  # fmt: skip
OTHER_BUDGET = 100
