"""pykmip, imported in one place: its client brings its server's tables with it, and those an older SQLAlchemy's ways."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"(?s).*declarative_base", category=DeprecationWarning)
    from kmip.core import enums, exceptions
    from kmip.core.attributes import CryptographicParameters
    from kmip.core.messages import payloads
    from kmip.core.objects import TemplateAttribute
    from kmip.pie.client import ProxyKmipClient
    from kmip.pie.exceptions import KmipOperationFailure
    from kmip.pie.objects import SymmetricKey
    from kmip.services.kmip_client import KMIPProxy
    from kmip.services.kmip_protocol import KMIPProtocol, RequestLengthMismatch

__all__ = [
    "CryptographicParameters",
    "KMIPProtocol",
    "KMIPProxy",
    "KmipOperationFailure",
    "ProxyKmipClient",
    "RequestLengthMismatch",
    "SymmetricKey",
    "TemplateAttribute",
    "enums",
    "exceptions",
    "payloads",
]
