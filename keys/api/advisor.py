"""REST: the advisor's tree, scopes and algorithms, and what its rules say of the keys in view."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from keys import advisor_serializers as shapes
from keys.advisor.scopes import SCOPES, THREATS
from keys.advisor.tree import ADVICE, QUESTIONS, START
from keys.api.base import ActorView
from keys.crypto.algorithms import ALGORITHMS
from keys.services import advice as rules
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.filtering import whole_list


class AdvisorViewSet(ActorView, GenericViewSet[Any]):
    """What to protect with what."""

    required_permission = Permission.KEY_VIEW

    @extend_schema(responses=shapes.TreeSerializer)
    @whole_list(detail=False)
    def tree(self, request: Request) -> Response:
        """Questions that lead to an algorithm and the kind of key to make; begin at `start` and follow `leads_to`."""
        found = {"start": START, "questions": QUESTIONS, "advice": ADVICE}
        return Response(shapes.TreeSerializer(found).data)

    @extend_schema(responses=shapes.ScopesSerializer)
    @whole_list(detail=False)
    def scopes(self, request: Request) -> Response:
        """Where to encrypt: against whom each scope helps, what it costs and who holds the keys."""
        return Response(shapes.ScopesSerializer({"threats": THREATS, "scopes": SCOPES}).data)

    @extend_schema(responses=shapes.AlgorithmSerializer(many=True))
    @whole_list(detail=False)
    def algorithms(self, request: Request) -> Response:
        """Every algorithm there is here, with sizes, limits, standing and standard."""
        return Response(shapes.AlgorithmSerializer(ALGORITHMS.values(), many=True).data)

    @extend_schema(responses=shapes.AdviceFindingsSerializer)
    @whole_list(detail=False)
    def findings(self, request: Request) -> Response:
        """What is to be said of the keys in view: algorithms, cryptoperiods, the place of master keys, agreement."""
        return Response(shapes.AdviceFindingsSerializer(rules.findings(self.actor)).data)
