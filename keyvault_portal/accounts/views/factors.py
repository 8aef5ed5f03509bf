"""Second factors, where django-allauth does not ask whether the last one may go."""

from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.webauthn.views import RemoveWebAuthnView
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect

from keyvault_portal.accounts.second_factor import LAST_ONE
from keyvault_portal.accounts.services import locked


class RemovePasskey(RemoveWebAuthnView):  # type: ignore[misc]
    """Removes a passkey, but not the last factor of somebody whose roles ask for one."""

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            locked(self.request.user)  # two requests at once would each find the other's passkey left
            if get_adapter().can_delete_authenticator(self.get_object()):
                answer: HttpResponse = super().form_valid(form)
                return answer
        messages.error(self.request, LAST_ONE)
        return redirect("mfa_list_webauthn")
