"""What the endpoints of keys share."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import status
from rest_framework.response import Response

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed

ACCEPTED = OpenApiResponse(description="Other people must agree first; Location is the approval to follow.")


CURSOR = OpenApiParameter("cursor", str, description="`next_cursor` of the page before.")


class ActorView:
    """Answers to the actor of the request and reads bodies through one serializer."""

    request: Any
    required_permission: Permission | dict[str, Permission]

    @property
    def actor(self) -> Actor:
        return self.request.actor  # type: ignore[attr-defined, no-any-return]

    def ring(self, ring_id: UUID, permission: Permission) -> KeyRing:
        """The ring that a body names; to whoever lacks the right on it, it does not exist. Raises ValidationFailed."""
        ring = KeyRing.objects.filter(pk=ring_id).first()
        if ring is None or not self.actor.can(permission, ring.pk):
            raise ValidationFailed(errors={"ring": [f"There is no such ring, or you lack {permission.value} on it."]})
        return ring

    def created(self, shape: type[Any], row: Any, where: str) -> Response:
        """The answer to whoever made a row that is read below /api/v1/`where`."""
        return Response(shape(row).data, status.HTTP_201_CREATED, headers={"Location": f"/api/v1/{where}/{row.pk}"})

    def body(self, shape: type[Any]) -> dict[str, Any]:
        serializer = shape(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)
