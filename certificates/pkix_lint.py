"""pkilint (MIT) where it is installed: a second reader of every certificate before it is signed, besides our own rules.

It is optional, for it takes milliseconds and its public suffix list and country codes age with its version; whoever
wants it installs it beside the portal. Its rules of RFC 5280 are asked; errors refuse, the rest warns.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from certificates.lint import ERROR, WARNING, Finding

installed = find_spec("pkilint") is not None
_NOT_ASKED = {"pkix.invalid_uri_syntax"}  # knows the schemes of the web, not spiffe://; ours reads them
_WILDCARD = ("pkix.invalid_domain_name_syntax", '"*.')  # a host name has none, a certificate may: RFC 6125, 6.4.3


def lint(raw: bytes) -> list[Finding]:
    """What pkilint finds in a certificate in DER, from notices up; nothing where it is not installed."""
    if not installed:
        return []
    validator, load, severities = _pkilint()
    try:
        results = validator.validate(load(raw, "certificate").root)
    except ValueError as error:
        return [Finding("pkilint", f"it cannot be read: {error}"[:200])]
    found = []
    for described in (item for result in results for item in result.finding_descriptions):
        finding = described.finding
        if finding.code == _WILDCARD[0] and _WILDCARD[1] in (described.message or ""):
            continue
        if finding.severity <= severities.NOTICE and finding.code not in _NOT_ASKED:  # the worst is 0
            severity = ERROR if finding.severity <= severities.ERROR else WARNING
            found.append(Finding(f"pkilint {finding.code}", (described.message or finding.code)[:200], severity))
    return found


@cache
def _pkilint() -> tuple[Any, Any, Any]:
    """The validator of RFC 5280 certificates, the loader of DER and the severities."""
    certificate, name, extension = (
        import_module(f"pkilint.pkix.{part}") for part in ("certificate", "name", "extension")
    )
    validator = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]), certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]), certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )  # fmt: skip
    severities = import_module("pkilint.validation").ValidationFindingSeverity
    return validator, import_module("pkilint.loader").load_certificate, severities
