"""Who may do what: one rule for every route and method of pages and API. A route that is missing here fails the tests."""

from tests.api.rules import ceremonies, certificates, floor, keys, places, tls_and_watching, vault
from tests.api.rules.rule import Rule

__all__ = ["RULES", "Rule"]
RULES = (
    floor.RULES
    | keys.RULES
    | places.RULES
    | certificates.RULES
    | tls_and_watching.RULES
    | ceremonies.RULES
    | vault.RULES
)
