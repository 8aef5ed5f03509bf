"""Connections to a KMIP server: TLS with a client certificate, kept open, one call at a time on each."""

import os
import select
import socket
import ssl
import struct
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from keys.providers.base import (
    CredentialsRefused,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    ProviderThrottled,
)
from keys.providers.kmip.library import (
    KmipOperationFailure,
    KMIPProtocol,
    KMIPProxy,
    ProxyKmipClient,
    RequestLengthMismatch,
    enums,
    exceptions,
)
from keyvault_portal.errors import PortalError, ProviderUnavailable, TooLarge


class ServerTrouble(ProviderUnavailable):
    """The server says that something failed, not what; PyKMIP's says so of a wrong authentication tag too."""


_R = enums.ResultReason
_REASONS: tuple[tuple[set[enums.ResultReason], type[PortalError], str], ...] = (
    ({_R.ITEM_NOT_FOUND, _R.OBJECT_NOT_FOUND, _R.OBJECT_DESTROYED},
     KeyMissing, "The KMIP server has no key under this identifier."),
    ({_R.PERMISSION_DENIED, _R.WRONG_KEY_LIFECYCLE_STATE, _R.OBJECT_ARCHIVED, _R.ILLEGAL_OPERATION,
      _R.INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK, _R.USAGE_LIMIT_EXCEEDED},
     KeyUnusable, "The KMIP server refuses this use of the key in its present state."),
    ({_R.AUTHENTICATION_NOT_SUCCESSFUL, _R.NOT_AUTHORISED, _R.BAD_PASSWORD, _R.ATTESTATION_FAILED,
      _R.ATTESTATION_REQUIRED},
     CredentialsRefused, "The KMIP server does not accept the portal's client certificate."),
    ({_R.OPERATION_NOT_SUPPORTED, _R.FEATURE_NOT_SUPPORTED, _R.UNSUPPORTED_PROTOCOL_VERSION,
      _R.UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS, _R.UNSUPPORTED_ATTRIBUTE},
     OperationUnsupported, "The KMIP server does not do this."),
    ({_R.SERVER_LIMIT_EXCEEDED}, ProviderThrottled, "The KMIP server asks to slow down."),
    ({_R.RESPONSE_TOO_LARGE}, TooLarge, "The KMIP server does not give this much at once."),
    ({_R.GENERAL_FAILURE, _R.INTERNAL_SERVER_ERROR, _R.PROTECTION_STORAGE_UNAVAILABLE},
     ServerTrouble, "The KMIP server failed; its own log says why."),
)  # fmt: skip
# The alerts of RFC 5246, 7.2.2, by which a server refuses the certificate we show.
_CERTIFICATE_ALERTS = ("ALERT_UNKNOWN_CA", "CERTIFICATE", "ALERT_ACCESS_DENIED", "ALERT_HANDSHAKE_FAILURE")


_WRONG_TIME = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED

# What the library lets through when a connection breaks, or when an answer makes no sense to it.
_LIBRARY_ERRORS = (OSError, EOFError, RequestLengthMismatch, exceptions.KmipError, struct.error, ValueError, TypeError,
                   AttributeError, LookupError)  # fmt: skip


def _portal_error(error: Exception) -> PortalError:
    """With `of_reason` the one place where what the library and the server say becomes the portal's error."""
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, OSError | EOFError | RequestLengthMismatch):
        return ProviderUnavailable("The KMIP server does not answer.", hint="Try again.")
    return ProviderFault("The KMIP server's answer cannot be understood.", hint=type(error).__name__)


def _of_tls(error: ssl.SSLError) -> PortalError:
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _WRONG_TIME:
        return ProviderUnavailable(
            "The KMIP server's certificate is not valid at this time.",
            hint="It has expired, or the clock of this machine is wrong.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProviderUnavailable(
            "The KMIP server's certificate is not one that the CA file vouches for, or names another host."
        )
    if any(alert in str(error.reason) for alert in _CERTIFICATE_ALERTS):
        return CredentialsRefused(
            "The KMIP server refuses the portal's client certificate.", hint="Check that its CA knows it."
        )
    return ProviderUnavailable("No secure connection to the KMIP server came about.")


def of_reason(reason: enums.ResultReason) -> PortalError:
    for reasons, kind, text in _REASONS:
        if reason in reasons:
            return kind(text)
    return ProviderFault("The KMIP server refused a request it should understand.", hint=reason.name)


# No settings from files of the library's own in the home directory or in /etc.
_OURS = {"kmip_version": enums.KMIPVersion.KMIP_1_4, "config_file": os.devnull}


class _Proxy(KMIPProxy):
    """pykmip's client checks neither the server's name nor has it a time-out below a second: both are put right here."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host=host, port=port, **_OURS)
        self.context, self.seconds = context, timeout
        self.socket: ssl.SSLSocket | None = None

    def open(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.seconds)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = self.context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        self.protocol = KMIPProtocol(self.socket)

    def close(self) -> None:
        """The library's own leaves the socket open when the other side has gone first."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()
            self.socket = None

    def abandon(self) -> None:
        """Close our copy of the connection only: a proper close would end that of the process we were forked from."""
        if self.socket is not None:
            os.close(self.socket.detach())
            self.socket = None


class Connections:
    """The open connections to one server; thread-safe, and begun anew in a forked process."""

    def __init__(self, host: str, port: int, *, certificate: str, key: str, ca: str, timeout: float) -> None:
        self._host, self._port, self._timeout = host, port, timeout
        self._files = certificate, key, ca
        self._idle: list[ProxyKmipClient] = []
        _all.add(self)

    def forget(self) -> None:
        for client in self._idle:
            client.proxy.abandon()
        self._idle = []

    def close(self) -> None:
        while self._idle:
            self._idle.pop().proxy.close()

    def call[T](self, work: Callable[[ProxyKmipClient], T]) -> T:
        """Run `work` with a connection of its own; raises the portal's errors only."""
        with self.one() as client:
            return work(client)

    @contextmanager
    def one(self) -> Iterator[ProxyKmipClient]:
        client: ProxyKmipClient | None = None
        try:
            client = self._taken() or self._opened()
            yield client
            self._idle.append(client)
        except (KmipOperationFailure, exceptions.OperationFailure) as failure:
            self._idle.append(client)  # an answer, if a sad one: the connection is as good as before
            raise of_reason(failure.reason) from None
        except BaseException as error:
            # Whatever was half said here must never be read as the answer to the next question.
            if client is not None:
                client.proxy.close()
            if isinstance(error, _LIBRARY_ERRORS):
                raise _portal_error(error) from None
            raise

    def _taken(self) -> ProxyKmipClient | None:
        """An idle connection on which the server has not said anything, such as good-bye."""
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                return None
            waiting = select.poll()
            waiting.register(client.proxy.socket, select.POLLIN)
            if not waiting.poll(0):
                return client
            client.proxy.close()

    def _opened(self) -> ProxyKmipClient:
        client = ProxyKmipClient(hostname=self._host, port=self._port, **_OURS)
        client.proxy = _Proxy(self._host, self._port, self._context(), self._timeout)
        client.proxy.open()
        client._is_open = True
        return client

    def _context(self) -> ssl.SSLContext:
        """Read at every connection, so that a renewed certificate is met."""
        certificate, key, ca = self._files
        try:
            context = ssl.create_default_context(cafile=ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(certificate, key)
        except (OSError, ValueError):
            raise CredentialsRefused(
                "The files of the client certificate, its key or the CA cannot be read.",
                hint="Check the paths in the provider's settings, and that the portal may read them.",
            ) from None
        return context


# Weak, and only for the fork handler.
_all: "weakref.WeakSet[Connections]" = weakref.WeakSet()


def _after_fork() -> None:
    for connections in list(_all):
        connections.forget()


os.register_at_fork(after_in_child=_after_fork)
