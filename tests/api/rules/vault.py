"""Rules of the API that speaks as Vault does: tokens alone, and no session."""

from keys.vault.transit import OPERATIONS
from keyvault_portal.accounts.permissions import Permission as P
from tests.api.rules.rule import PUBLIC, Rule
from tests.api.world import HERE

RULES: dict[str, Rule] = {
    "GET vault-health": PUBLIC,
    "HEAD vault-health": PUBLIC,
    "GET vault-seal-status": PUBLIC,
    "GET vault-leader": PUBLIC,
    "GET vault-key": Rule((P.KEY_VIEW,), (P.KEY_VIEW, HERE), tokens=True),
    "GET vault-key-names": Rule((P.KEY_VIEW,), (P.KEY_VIEW, HERE), tokens=True),
    "LIST vault-key-names": Rule((P.KEY_VIEW,), (P.KEY_VIEW, HERE), tokens=True),
} | {f"{method} vault-own-token": Rule(own=True, tokens=True) for method in ("GET", "POST", "PUT")}

for _path, _operation in OPERATIONS.items():
    _name = "vault-" + _path.replace("/", "-")
    _rule = Rule(
        acts=(_operation.permission, HERE), data=True, tokens=True, body={"batch_input": [{}]} if _operation.batched else {}
    )  # fmt: skip
    for _method in ("POST", "PUT"):
        RULES[f"{_method} {_name}"] = _rule
        if _path in {"sign", "hmac", "verify"}:
            RULES[f"{_method} {_name}-by-hash"] = _rule
