"""Roles and the one table of what each may do."""

from enum import StrEnum

from django.db import models


class Role(models.TextChoices):
    SECURITY_OFFICER = "security_officer", "Security officer"
    OPERATOR = "operator", "Operator"
    CUSTODIAN = "custodian", "Custodian"
    AUDITOR = "auditor", "Auditor"
    SERVICE = "service", "Service"


class Permission(StrEnum):
    """Every right there is; the value is also the scope name of an API token."""

    KEY_VIEW = "key.view"
    KEY_CREATE = "key.create"
    KEY_EDIT = "key.edit"
    KEY_ROTATE = "key.rotate"
    KEY_MOVE = "key.move"
    KEY_DISABLE = "key.disable"
    KEY_COMPROMISE = "key.compromise"
    KEY_DESTROY = "key.destroy"
    KEY_IMPORT = "key.import"
    KEY_COMPONENT = "key.enter_component"
    KEY_EXPORT = "key.export"
    KEY_ENCRYPT = "key.encrypt"
    KEY_DECRYPT = "key.decrypt"
    KEY_REWRAP = "key.rewrap"
    KEY_GENERATE = "key.generate_data_key"
    KEY_SIGN = "key.sign"
    KEY_VERIFY = "key.verify"
    KEY_MAC = "key.mac"
    ROTATION_VIEW = "rotation.view"
    ROTATION_CONTROL = "rotation.control"
    STORE_VIEW = "store.view"
    STORE_MANAGE = "store.manage"
    AUDIT_VIEW = "audit.view"
    AUDIT_EXPORT = "audit.export"
    APPROVAL_VIEW = "approval.view"
    APPROVAL_DECIDE = "approval.decide"
    APPROVAL_BREAK_GLASS = "approval.break_glass"
    PERSON_VIEW = "person.view"
    PERSON_MANAGE = "person.manage"
    RING_MANAGE = "ring.manage"
    TOKEN_VIEW = "token.view"  # noqa: S105  a right, not a secret
    TOKEN_MANAGE = "token.manage"  # noqa: S105
    PROVIDER_VIEW = "provider.view"
    PROVIDER_MANAGE = "provider.manage"
    CERTIFICATE_VIEW = "certificate.view"
    CERTIFICATE_ISSUE = "certificate.issue"
    CERTIFICATE_REVOKE = "certificate.revoke"
    CERTIFICATE_UPLOAD = "certificate.upload"
    CERTIFICATE_REPORT = "certificate.report"
    AUTHORITY_MANAGE = "authority.manage"
    TRUST_REPORT = "trust.report"
    CEREMONY_VIEW = "ceremony.view"
    CEREMONY_MANAGE = "ceremony.manage"
    TLS_VIEW = "tls.view"
    TLS_SCAN = "tls.scan"
    SETTINGS_VIEW = "settings.view"
    SETTINGS_MANAGE = "settings.manage"


P = Permission
_VIEW = {
    P.KEY_VIEW,
    P.ROTATION_VIEW,
    P.STORE_VIEW,
    P.APPROVAL_VIEW,
    P.PROVIDER_VIEW,
    P.TLS_VIEW,
    P.SETTINGS_VIEW,
    P.CERTIFICATE_VIEW,
    P.CEREMONY_VIEW,
}
_DATA_PLANE = {
    P.KEY_ENCRYPT, P.KEY_DECRYPT, P.KEY_REWRAP, P.KEY_GENERATE, P.KEY_SIGN, P.KEY_VERIFY, P.KEY_MAC,
}  # fmt: skip

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    # An officer governs keys and therefore never uses them: no data-plane right.
    Role.SECURITY_OFFICER: frozenset(set(P) - _DATA_PLANE),
    Role.OPERATOR: frozenset(
        _VIEW
        | {P.KEY_ROTATE, P.ROTATION_CONTROL, P.STORE_MANAGE, P.TLS_SCAN, P.AUDIT_VIEW, P.TOKEN_VIEW, P.PERSON_VIEW}
        | {P.CERTIFICATE_ISSUE, P.CERTIFICATE_REVOKE, P.CERTIFICATE_UPLOAD, P.TRUST_REPORT}
    ),
    Role.CUSTODIAN: frozenset({P.KEY_VIEW, P.KEY_COMPONENT, P.APPROVAL_VIEW, P.APPROVAL_DECIDE, P.CEREMONY_VIEW}),
    Role.AUDITOR: frozenset(_VIEW | {P.AUDIT_VIEW, P.AUDIT_EXPORT, P.PERSON_VIEW, P.TOKEN_VIEW}),
    Role.SERVICE: frozenset(_DATA_PLANE | {P.KEY_VIEW, P.CERTIFICATE_REPORT, P.TRUST_REPORT}),
}

DECIDING_ROLES = frozenset(role.value for role in Role if P.APPROVAL_DECIDE in ROLE_PERMISSIONS[role])

# What a token may carry. Agreement and key components are given by people, and no token makes tokens.
TOKEN_SCOPES = frozenset(set(P) - {P.APPROVAL_DECIDE, P.APPROVAL_BREAK_GLASS, P.TOKEN_MANAGE, P.KEY_COMPONENT})
