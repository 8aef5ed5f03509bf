"""What the endpoints of keys share."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission

ACCEPTED = OpenApiResponse(description="Other people must agree first; Location is the approval to follow.")


CURSOR = OpenApiParameter("cursor", str, description="`next_cursor` of the page before.")


class ActorView:
    """Answers to the actor of the request and reads bodies through one serializer."""

    request: Any
    required_permission: Permission | dict[str, Permission]

    @property
    def actor(self) -> Actor:
        return self.request.actor  # type: ignore[attr-defined, no-any-return]

    def body(self, shape: type[Any]) -> dict[str, Any]:
        serializer = shape(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)
