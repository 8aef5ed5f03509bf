"""Kinds of provider, and the instances behind the aliases. Rows store kind and alias: which class serves a kind is here.

What is registered comes from a source that the services hand in, because nothing here may know a table. Each process
asks it again after MAX_AGE seconds, so that a change is seen everywhere soon and no call pays for it.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple, Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from keys.providers.base import Provider
from keyvault_portal.errors import Conflict, ProviderUnavailable

LOCAL = "local"
MAX_AGE = 3.0


class Kind(NamedTuple):
    """What a kind is called, where its class lives, and the library it stands on."""

    title: str
    path: str
    library: str = ""


KINDS: dict[str, Kind] = {
    LOCAL: Kind("This portal", "keys.providers.local.LocalProvider"),
    "aws_kms": Kind("AWS KMS", "keys.providers.aws_kms.AwsKmsProvider", "boto3"),
    "azure_kv": Kind("Azure Key Vault", "keys.providers.azure_kv.AzureKeyVaultProvider", "azure-keyvault-keys"),
    "gcp_kms": Kind("Google Cloud KMS", "keys.providers.gcp_kms.GcpKmsProvider", "google-cloud-kms"),
    "kmip": Kind("KMIP server", "keys.providers.kmip.provider.KmipProvider", "pykmip"),
    "pkcs11": Kind("HSM (PKCS#11)", "keys.providers.pkcs11.provider.Pkcs11Provider", "python-pkcs11"),
    "vault_transit": Kind("Vault or OpenBao transit", "keys.providers.vault_transit.VaultTransitProvider", "hvac"),
}


class KindUnavailable(ProviderUnavailable):
    """The program lacks what this kind needs; says which library."""

    code, title = "provider_kind_unavailable", "This kind of provider is not installed"


class ProviderDisabled(Conflict):
    """Somebody switched the provider off; nothing is sent to it until it is enabled again."""

    code, title = "provider_disabled", "The key provider is disabled"


@dataclass(frozen=True, slots=True)
class Configuration:
    """One registered provider. `stamp` changes whenever anything of it does; `settings` opens what is sealed."""

    kind: str
    stamp: object
    enabled: bool
    settings: Callable[[], Mapping[str, object]] = field(repr=False)


class Source(Protocol):
    """Where registered providers are looked up."""

    def aliases(self) -> list[str]: ...

    def configuration(self, alias: str) -> Configuration | None: ...


class _Nothing:
    def aliases(self) -> list[str]:
        return []

    def configuration(self, alias: str) -> Configuration | None:
        return None


@dataclass(slots=True)
class _Known:
    instance: Provider
    stamp: object
    enabled: bool
    fresh_until: float


_known: dict[str, _Known] = {}
# Opening the sealed settings of one provider asks for another: the portal's own.
_lock = threading.RLock()
_source: list[Source] = [_Nothing()]


def use_source(source: Source) -> None:
    """Look registered providers up here from now on."""
    _source[:] = [source]
    forget()


def aliases() -> list[str]:
    """Every alias under which a key may be made, sorted."""
    return sorted({LOCAL, *_source[0].aliases()})


def provider_class(kind: str) -> type[Provider]:
    """The class of a kind, imported on first use; raises KindUnavailable with what is missing."""
    row = KINDS.get(kind)
    if row is None:
        raise KindUnavailable(f"This portal knows no kind of provider called {kind}.")
    try:
        found: type[Provider] = import_string(row.path)
    except ImportError:
        raise KindUnavailable(
            f"{row.title} cannot be used: the library {row.library or row.path} is not installed here.",
            hint="Install it and start the portal again.",
        ) from None
    return found


def build(kind: str, alias: str, values: Mapping[str, object]) -> Provider:
    """A new instance, not kept; raises KindUnavailable, and what its class raises for settings it cannot use."""
    if kind == LOCAL:
        return provider_class(kind)(alias)  # type: ignore[call-arg]
    values = {"timeout": settings.PROVIDER_TIMEOUT_SECONDS, **values}
    return provider_class(kind)(alias, **values)  # type: ignore[call-arg]


def provider(alias: str) -> Provider:
    """The instance behind `alias`; raises ProviderUnavailable if it is not registered, ProviderDisabled, KindUnavailable."""
    known = _known.get(alias)
    if known is None or known.fresh_until < monotonic():
        with _lock:
            known = _known.get(alias)
            if known is None or known.fresh_until < monotonic():
                known = _known[alias] = _read(alias, known)
    if not known.enabled:
        raise ProviderDisabled(f"The key provider {alias} is disabled.", hint="Enable it, then try again.")
    return known.instance


def _read(alias: str, known: _Known | None) -> _Known:
    if alias == LOCAL:
        return _Known(build(LOCAL, LOCAL, {}), None, True, float("inf"))
    found = _source[0].configuration(alias)
    if found is None:
        _known.pop(alias, None)
        raise ProviderUnavailable(
            f"No key provider is registered under the name {alias}.", hint="Register it under Providers."
        )
    fresh_until = monotonic() + MAX_AGE
    if known is not None and known.stamp == found.stamp:
        return _Known(known.instance, found.stamp, found.enabled, fresh_until)
    return _Known(build(found.kind, alias, found.settings()), found.stamp, found.enabled, fresh_until)


def forget() -> None:
    """Drop every instance, so that what is registered is read again."""
    with _lock:
        _known.clear()
