"""REST: the scripts that can be held."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from ceremonies import serializers as shapes
from ceremonies.services import scripts
from keys.api.base import ACCEPTED, ActorView
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.filtering import refuse_undeclared

LABEL = OpenApiParameter("label", OpenApiTypes.STR, OpenApiParameter.PATH, description="name:version")


class ScriptViewSet(ActorView, ViewSet):
    """The portal's own scripts, and uploads that others agreed to."""

    required_permission = {
        "list": Permission.CEREMONY_VIEW, "retrieve": Permission.CEREMONY_VIEW, "create": Permission.CEREMONY_MANAGE,
    }  # fmt: skip
    lookup_field = "label"
    lookup_value_regex = "[a-z0-9-]{1,63}:[0-9]{1,9}"

    @extend_schema(responses=shapes.ScriptSerializer(many=True))
    def list(self, request: Request) -> Response:
        """What can be planned now."""
        refuse_undeclared(request, ())
        return Response(shapes.ScriptSerializer(scripts.usable_scripts().values(), many=True).data)

    @extend_schema(parameters=[LABEL], responses=shapes.ScriptSerializer)
    def retrieve(self, request: Request, label: str) -> Response:
        """One script, step by step."""
        return Response(shapes.ScriptSerializer(scripts.find_script(label)).data)

    @extend_schema(request=shapes.ScriptUploadSerializer, responses={202: ACCEPTED})
    def create(self, request: Request) -> Response:
        """Upload a script of one's own (YAML); it can be held once others agreed to its very hash."""
        scripts.upload_script(actor=self.actor, **self.body(shapes.ScriptUploadSerializer))
        raise AssertionError  # it always waits for agreement
