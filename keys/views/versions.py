"""Acts on one version of a key: each destructive one is a page that says its consequences before it asks."""

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views import View

from keys.forms import CompromiseForm, DeletionForm, ReasonForm, ServiceForm
from keys.models import Key, KeyVersion
from keys.services import lifecycle, rotation
from keys.views.keys import agreement_words, visible_key
from keys.views.walks import AFTER_GRACE
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.errors import NotFound


class VersionAct(ActorRequiredMixin, View):
    """Confirm page and act for one version; subclasses name the service and its words."""

    required_permission = Permission.KEY_DISABLE
    form_class: ClassVar[type[ServiceForm]] = ReasonForm
    service: ClassVar[Callable[..., Any]]
    words: ClassVar[tuple[str, str, str]]  # title, question, button
    done: ClassVar[str]
    danger = False
    irreversible: ClassVar[bool | str] = False  # or AFTER_GRACE

    def get(self, request: HttpRequest, key_id: UUID, number: int) -> HttpResponse:
        key, version = self._find(request, key_id, number)
        return self._page(request, key, version, self.form_class())

    def post(self, request: HttpRequest, key_id: UUID, number: int) -> HttpResponse:
        key, version = self._find(request, key_id, number)
        form = self.form_class(request.POST)
        if form.is_valid():
            service = type(self).service
            done = form.run(lambda values: (service(actor=actor_of(request), version_id=version.pk, **values), True)[1])
            if done:
                messages.success(request, self.done.format(version=version))
                return redirect("keys:key-detail", key.pk)
        return self._page(request, key, version, form, status=422)

    def _find(self, request: HttpRequest, key_id: UUID, number: int) -> tuple[Key, KeyVersion]:
        key = visible_key(request, key_id)
        authorize(actor_of(request), self.required_permission, ring_id=key.ring_id, target=str(key))
        version = key.versions.filter(key_version=number).first()
        if version is None:
            raise NotFound(f"{key} has no version {number}.")
        return key, version

    def consequences(self, version: KeyVersion) -> list[str]:
        """What is lost, for the acts that take something away."""
        return lifecycle.consequences(version) if self.danger else []

    def _page(
        self, request: HttpRequest, key: Key, version: KeyVersion, form: ServiceForm, status: int = 200
    ) -> HttpResponse:
        title, question, button = self.words
        context = {
            "title": title.format(version=version), "question": question, "form": form, "submit_label": button, "danger": self.danger,
            "irreversible": self.irreversible, "consequences": self.consequences(version), "cancel_url": f"/keys/{key.pk}/",
            "needs_approval": self.needs_approval(key),
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)

    def needs_approval(self, key: Key) -> str:
        return ""


class Suspend(VersionAct):
    service = lifecycle.suspend_version
    words = ("Suspend {version}", "While suspended it neither protects nor opens anything.", "Suspend it")
    done = "{version} is suspended."
    danger = True


class Resume(VersionAct):
    service = lifecycle.resume_version
    words = ("Resume {version}", "It returns to the state the suspension interrupted.", "Resume it")
    done = "{version} works again."


class Activate(VersionAct):
    required_permission = Permission.KEY_ROTATE
    service = rotation.take_into_use
    words = (
        "Activate {version}",
        "It protects everything new from now on; the active version may only open.",
        "Activate it",
    )
    done = "{version} is taken into use; if another was, the page of its rotation shows what moves."

    def consequences(self, version: KeyVersion) -> list[str]:
        if version.key.current is None:
            return []
        counted = rotation.dry_run(actor=actor_of(self.request), key_id=version.key_id)
        many = "item" if counted.items == 1 else "items"
        return [
            f"A rotation begins from version {version.key.current.key_version} to this one.",
            f"Workers move {counted.items:,} {many} that stand on the old version, with {counted.provider_calls:,} calls of its provider.",
        ]

    def needs_approval(self, key: Key) -> str:
        return agreement_words(key.policy.rotate_groups) if key.current_id else ""


class Compromise(VersionAct):
    required_permission = Permission.KEY_COMPROMISE
    form_class = CompromiseForm
    service = rotation.rotate_compromised
    words = (
        "{version} is compromised",
        "It stops protecting at once and may only open what it protected, so that the data can be moved.",
        "Mark it compromised",
    )
    done = "{version} is marked compromised; if it was in use, its key is being rotated."
    danger = True
    irreversible = True

    def consequences(self, version: KeyVersion) -> list[str]:
        return [
            "It protects nothing more from now on; it may only open what it protected.",
            "If it is in use, its key is rotated at once, without waiting for agreement, and workers move what stands on it.",
            lifecycle.consequences(version)[-1],
        ]


class ScheduleDeletion(VersionAct):
    required_permission = Permission.KEY_DESTROY
    form_class = DeletionForm
    service = lifecycle.schedule_deletion
    words = (
        "Delete {version}",
        "After the grace period its material is destroyed and nothing protected by it can ever be opened again.",
        "Ask for deletion",
    )
    done = "{version} is scheduled for deletion."
    danger = True
    irreversible = AFTER_GRACE

    def needs_approval(self, key: Key) -> str:
        return agreement_words(key.policy.destroy_groups)


class ConfirmDeletion(VersionAct):
    required_permission = Permission.KEY_DESTROY
    service = lifecycle.confirm_deletion
    words = (
        "Delete {version} all the same",
        "A use stopped the clock. It starts again with the whole grace period, after which the material is destroyed.",
        "Start the clock again",
    )
    done = "The clock of {version} runs again."
    danger = True
    irreversible = AFTER_GRACE


class CancelDeletion(VersionAct):
    required_permission = Permission.KEY_DESTROY
    service = lifecycle.cancel_deletion
    words = ("Keep {version}", "Its deletion is cancelled and it returns to what it was.", "Keep it")
    done = "{version} stays."
