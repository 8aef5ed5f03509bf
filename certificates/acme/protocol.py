"""What every ACME request goes through: limits, signature, address, nonce, account; and what every answer carries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from certificates.acme import addresses, jose, limits, nonces
from certificates.acme.errors import AcmeError, malformed
from certificates.acme.jose import PublicKey
from certificates.acme.states import AccountState
from certificates.models import AcmeAccount, AcmeServer
from keyvault_portal.accounts.web import client_address
from keyvault_portal.errors import NotFound, PortalError

MAX_BODY = 64 * 1024
MEDIA_TYPE = "application/jose+json"
PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Signed:
    """A request whose signature, address and nonce are right. `account` is None where the key itself was sent."""

    server: AcmeServer
    jws: jose.Jws
    key: PublicKey
    account: AcmeAccount | None
    address: str | None

    @property
    def holder(self) -> AcmeAccount:
        assert self.account is not None
        return self.account

    @property
    def asks_only(self) -> bool:
        """POST-as-GET: the payload is empty (RFC 8555, 6.3)."""
        return not self.jws.payload


@method_decorator(csrf_exempt, name="dispatch")
class AcmeView(View):
    """Finds the server, turns errors into problem documents, and adds the headers of every answer."""

    fresh_nonce: ClassVar[bool] = True  # not where everybody may keep the answer
    server: AcmeServer

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase
        try:
            limits.take("request", client_address(request))
            self.server = find_server(kwargs.pop("name"))
            response = super().dispatch(request, *args, **kwargs)
        except PortalError as error:
            response = problem(error)
        if hasattr(self, "server"):
            index = f'<{addresses.of(self.server, "directory")}>;rel="index"'
            response["Link"] = ", ".join(filter(None, [index, response.headers.get("Link")]))
        if self.fresh_nonce:
            response["Replay-Nonce"] = nonces.new()
            response["Cache-Control"] = "no-store"
        return response


def find_server(name: str) -> AcmeServer:
    """The server of the authority `name`; raises NotFound where it serves no ACME, or not now."""
    rows = AcmeServer.objects.select_related("authority__ring", "authority__certificate")
    found = rows.filter(authority__name=name, enabled=True).first()
    if found is None:
        raise NotFound("There is no such ACME server.")
    return found


class SignedView(AcmeView):
    """A resource that is asked by signed POST only; `signed_by` says whether an account's address or a key signs."""

    signed_by: ClassVar[frozenset[str]] = frozenset({"kid"})
    answer: Callable[..., HttpResponse]  # of a Signed and what the address says

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return self.answer(self.read(request), **kwargs)

    def read(self, request: HttpRequest) -> Signed:
        """The request, verified (RFC 8555, 6.2 to 6.5); its nonce is taken only once the signature is right."""
        if request.content_type != MEDIA_TYPE:
            raise malformed(f"Requests have the media type {MEDIA_TYPE}.", status=415)
        raw = request.read(MAX_BODY + 1)
        if len(raw) > MAX_BODY:
            raise malformed(f"A request has at most {MAX_BODY} bytes.", status=413)
        jws = jose.parse(raw)
        jose.check_algorithm(jws)
        if jws.header.get("url") != settings.PORTAL_ORIGIN.rstrip("/") + request.get_full_path():
            raise AcmeError("unauthorized", "The request was signed for another address.")
        nonce = nonces.check(jws.header.get("nonce"))
        key, account = self._signer(jws.header)
        jose.verify(jws, key)
        nonces.use(nonce)
        if account is not None and account.state != AccountState.VALID.value:
            raise AcmeError("unauthorized", f"The account is {account.state}.")
        return Signed(self.server, jws, key, account, client_address(request))

    def _signer(self, header: Mapping[str, Any]) -> tuple[PublicKey, AcmeAccount | None]:
        named = {"jwk", "kid"} & set(header)
        if len(named) != 1 or not named <= self.signed_by:
            raise malformed(
                f"This request is signed with {' or '.join(sorted(self.signed_by))} in its header, and one only."
            )
        if "jwk" in named:
            return jose.public_key(header["jwk"]), None
        account = self._account(header["kid"])
        return jose.public_key(account.jwk), account

    def _account(self, kid: object) -> AcmeAccount:
        above = addresses.of(self.server, "account/")
        try:
            found = AcmeAccount.objects.filter(server=self.server, pk=UUID(str(kid).removeprefix(above))).first()
        except ValueError:
            found = None
        if found is None or kid != above + str(found.pk):
            raise AcmeError("accountDoesNotExist", "There is no such account on this server.")
        found.server = self.server
        return found


def problem(error: PortalError) -> JsonResponse:
    """The problem document of any error; what is no error of the protocol becomes the nearest that is."""
    known = error if isinstance(error, AcmeError) else _nearest(error)
    response = JsonResponse(known.document(), status=known.status, content_type=PROBLEM)
    if "retry_after" in known.extra:
        response["Retry-After"] = str(known.extra["retry_after"])
    if "location" in known.extra:
        response["Location"] = known.extra["location"]
    return response


def _nearest(error: PortalError) -> AcmeError:
    if error.status >= 500:
        return AcmeError(
            "serverInternal", "The portal cannot do this now; try again later.", status=503, retry_after=60
        )
    kind = "unauthorized" if error.status == 403 else "malformed"
    return AcmeError(kind, error.detail, status=error.status)
