"""Rotations: list, request with a dry run, the live page of one, and what can be done to it."""

from collections import Counter
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, When
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from keys.forms import GiveUpForm, ReasonForm, RotationFilterForm, RotationForm, ThrottleForm
from keys.models import FailedItem, Rotation
from keys.services import census, policies, reencryption, rotation
from keys.services.dependents import dependents_of
from keys.states import RotationState
from keys.views.keys import agreement_words, visible_key
from keys.views.walks import AFTER_GRACE, OneWalk, WalkAct, WalkConfirm, WalkThrottle, errors_of
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.audit import services as audit
from keyvault_portal.downloads import list_download
from keyvault_portal.errors import PortalError, ValidationFailed
from keyvault_portal.paging import page_context
from keyvault_portal.polling import polled
from keyvault_portal.visible import found, on_rings

FAILED_ORDER = ("decided", "id")
EXPORTED = {
    "ring": "key__ring__name", "key": "key__name", "from_version": "old_version__key_version", "to_version": "new_version__key_version",
    "trigger": "trigger", "state": "state", "reason": "reason", "requested_by": "requested_by", "created_at": "created_at",
    "re_encrypted_at": "re_encrypted_at", "decommissioned_at": "decommissioned_at", "completed_at": "completed_at", "id": "id",
}  # fmt: skip
LIVE = {RotationState.INTRODUCING, RotationState.RE_ENCRYPTING, RotationState.PAUSED}


def visible_rotations(actor: Actor) -> QuerySet[Rotation]:
    """The rotations `actor` may see."""
    return on_rings(Rotation.objects.all(), actor.ring_ids(Permission.ROTATION_VIEW), "key__ring_id")


def visible_rotation(request: HttpRequest, rotation_id: UUID) -> Rotation:
    """The rotation, or NotFound when it does not exist or may not be seen."""
    rows = visible_rotations(actor_of(request)).select_related(
        "key", "key__ring", "key__policy", "old_version", "new_version"
    )
    return found(rows, rotation_id, "rotation")


class RotationList(ActorRequiredMixin, View):
    required_permission = Permission.ROTATION_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        rows = visible_rotations(actor_of(request)).select_related("key", "old_version", "new_version")
        form = RotationFilterForm(request.GET or None)
        if form.is_valid():
            if form.cleaned_data["state"]:
                rows = rows.filter(state=form.cleaned_data["state"])
            if form.cleaned_data["trigger"]:
                rows = rows.filter(trigger=form.cleaned_data["trigger"])
            if form.cleaned_data["failed"]:
                rows = rows.filter(
                    Exists(
                        FailedItem.objects.filter(job__rotation=OuterRef("pk"), resolution=FailedItem.Resolution.OPEN)
                    )
                )
        columns = [
            {"label": "Key"},
            {"label": "From"},
            {"label": "To"},
            {"label": "Why"},
            {"label": "State"},
            {"label": "Asked by"},
            {"label": "Started"},
        ]
        if download := list_download(
            actor_of(request), request, "rotations", rows.order_by("-created_at", "-id"), EXPORTED
        ):
            return download
        context = page_context(request, rows, ["-created_at", "-id"]) | {
            "title": "Rotations", "exportable": True, "filter_form": form, "columns": columns, "empty_title": "No rotation yet",
            "empty_text": "Open a key and ask for its rotation, or give its policy a cryptoperiod.",
        }  # fmt: skip
        return render(request, "keys/rotation_list.html", context)


class _RotateForm(RotationForm):
    """Asks for a rotation from the version that the page showed: a second click, or a page left open, rotates no further."""

    version_id = forms.IntegerField(widget=forms.HiddenInput, required=False)


class RotationRequest(ActorRequiredMixin, View):
    """Says what a rotation would do (dry run), then asks for it; a quorum in the policy makes it wait for agreement."""

    required_permission = Permission.KEY_ROTATE

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        shown = visible_key(request, key_id).current_id
        return self._page(request, key_id, _RotateForm(initial={"version_id": shown}))

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = visible_key(request, key_id)
        form = _RotateForm(request.POST)
        if form.is_valid():
            found = form.run(lambda values: rotation.request_rotation(actor=actor_of(request), key_id=key.pk, **values))
            if found is not None:
                return redirect("keys:rotation-detail", found.pk)
        return self._page(request, key_id, form, status=422)

    def _page(self, request: HttpRequest, key_id: UUID, form: RotationForm, status: int = 200) -> HttpResponse:
        key = visible_key(request, key_id)
        groups = key.policy.rotate_groups
        context: dict[str, Any] = {
            "title": f"Rotate {key.title}", "form": form, "submit_label": "Ask for the rotation" if groups else "Rotate now",
            "cancel_url": f"/keys/{key.pk}/", "key": key,
            "needs_approval": agreement_words(groups), "elsewhere": dependents_of(key.current).when_rotated if key.current else (),
        }  # fmt: skip
        try:
            context["estimate"] = rotation.dry_run(actor=actor_of(request), key_id=key.pk)
        except PortalError as error:
            if error.status == 403:
                raise
            context["estimate_error"] = error
        return render(request, "keys/rotation_request.html", context, status=status)


class RotationDetail(ActorRequiredMixin, View):
    required_permission = Permission.ROTATION_VIEW

    def get(self, request: HttpRequest, rotation_id: UUID) -> HttpResponse:
        found = visible_rotation(request, rotation_id)
        context = rotation_context(request, found)
        return polled(request, "keys/rotation_detail.html", "keys/_rotation_live.html", context)


def rotation_context(request: HttpRequest, found: Rotation) -> dict[str, Any]:
    """Everything the page of one rotation shows; the live part is the same context in a smaller template."""
    actor, key = actor_of(request), found.key
    state = RotationState(found.state)
    jobs = [reencryption.progress(job) for job in found.jobs.select_related("store").order_by("created_at", "id")]
    failed = page_context(request, failed_items(found).select_related("store"), FAILED_ORDER)
    control = actor.can(Permission.ROTATION_CONTROL, key.ring_id)
    counted = census.stored_for_key(key.pk)
    left = sum(row.items for row in counted if row.version_id == found.old_version_id)
    since, given_up = found.re_encrypted_at, _given_up(found)
    after = [row for row in counted if row.version_id == found.old_version_id and since and row.counted_at > since]
    late = sum(max(row.items - given_up[row.store_id, row.column], 0) for row in after)
    open_failed = rotation.open_items(found)[:1001].count()
    return {
        "title": f"Rotation of {key.title}", "rotation": found, "key": key, "state": found.state, "jobs": jobs, "steps": _steps(found),
        "live": state in LIVE, "failed_items": failed["object_list"], "shown": f"{state}.{bool(failed['object_list']):d}",
        **{name: url and f"{url}#failed" for name, url in failed.items() if name != "object_list"},
        "open_failed": open_failed, "late": late, "census": counted, "left": left,
        "next_step": _next_step(found, state, open_failed, late, given_up.total()),
        "work": list(found.new_version.intents.select_related("version__key")) if found.new_version else [],
        "may": {
            "pause": control and state is RotationState.RE_ENCRYPTING, "resume": control and state is RotationState.PAUSED,
            "cancel": control and state in {RotationState.INTRODUCING, RotationState.RE_ENCRYPTING, RotationState.PAUSED, RotationState.FAILED},
            "throttle": control and state in LIVE,
            "retry": control and state in {RotationState.RE_ENCRYPTING, RotationState.FAILED, RotationState.RE_ENCRYPTED},
            "begin_again": control and _may_begin_again(found, state, left, sum(row.items for row in after)),
            "decide": actor.can(Permission.KEY_DESTROY, key.ring_id)
            and policies.role_fits(actor, key, key.policy.destroy_roles),
            "decommission": actor.can(Permission.KEY_DESTROY, key.ring_id) and state is RotationState.RE_ENCRYPTED,
            "undo": actor.can(Permission.KEY_DESTROY, key.ring_id) and state is RotationState.DECOMMISSIONED,
        },
        "pause_url": reverse("keys:rotation-pause", args=[found.pk]), "resume_url": reverse("keys:rotation-resume", args=[found.pk]),
        "throttle_url": reverse("keys:rotation-throttle", args=[found.pk]), "leaving": found.old_version, "zero": bool(counted and not left),
        "nothing_moves": "Nothing stands on the old version that would have to move.",
        "throttle_form": ThrottleForm(initial={"rate_limit": next((job.rate_limit for job in jobs), None)}),
        "events": audit.events_for_target("rotation", str(found.pk), 15) if actor.can(Permission.AUDIT_VIEW, key.ring_id) else [],
        "facts": [
            ("Key", key), ("From", f"version {found.old_version.key_version}"),
            ("To", f"version {found.new_version.key_version}" if found.new_version else None), ("Why", found.get_trigger_display()),
            ("Reason", found.reason), ("Asked by", found.requested_by), ("Started", f"{found.created_at:%-d %b %Y, %H:%M:%S} UTC"),
        ],
    }  # fmt: skip


def failed_items(found: Rotation) -> QuerySet[FailedItem]:
    """What the rotation set aside, for FAILED_ORDER: what waits for a decision first."""
    decided = Case(When(resolution=FailedItem.Resolution.OPEN, then=0), default=1)
    return FailedItem.objects.filter(job__rotation=found).annotate(decided=decided)


def _given_up(found: Rotation) -> Counter[tuple[UUID, str]]:
    """How many items were given up that stand on the old version for good, by store and column."""
    staying = Q(reason="decrypt_failed") | Q(reason__startswith=FailedItem.REFUSED)
    rows = FailedItem.objects.filter(staying, job__rotation=found, resolution=FailedItem.Resolution.GIVEN_UP)
    counted = rows.values_list("store_id", "column").annotate(number=Count("pk")).order_by()
    return Counter({(store_id, column): number for store_id, column, number in counted})


def _next_step(found: Rotation, state: RotationState, open_failed: int, late: int, given_up: int) -> str:
    """What happens next, or what a person has to do; `late` is what was counted on the old version after the walk, but for what was given up."""
    old, due = f"version {found.old_version.key_version}", found.old_version.deletion_due_at
    if state is RotationState.RE_ENCRYPTED:
        if open_failed:
            return f"Decide on the items set aside; then {old} can be decommissioned."
        if late:
            return f"The last count found {late:,} more on {old}: whoever wrote them uses it still."
        but = " but what was given up" if given_up else ""
        return f"Nothing that was counted still stands on {old}{but}: it can be decommissioned."
    return {
        RotationState.INTRODUCING: "The new version is being made.",
        RotationState.RE_ENCRYPTING: f"Workers move what stands on {old}; you may leave this page.",
        RotationState.PAUSED: "It stands still until somebody resumes it. Both versions open what they protect.",
        RotationState.FAILED: "Look at the reason, remove it, and read the items again.",
        RotationState.CANCELLED: f"It was cancelled. What was not moved stays on {old}, readable, until the walk is taken up again.",
        RotationState.DECOMMISSIONED: f"{old.capitalize()} is destroyed after {due:%-d %b %Y, %H:%M} UTC; any use of it stops the clock."
        if due
        else "",
        RotationState.COMPLETED: f"All done: {old} is destroyed.",
    }.get(state, "")


def _may_begin_again(found: Rotation, state: RotationState, left: int, late: int) -> bool:
    """Whether there is a walk to begin again: stopped, cancelled on its way, or over with more found since.

    What was given up counts here: somebody may have mended it, or others came in its place.
    """
    taken_up = state is RotationState.CANCELLED and found.introduced_at is not None
    taken_up = taken_up and found.trigger != Rotation.Trigger.MOVE
    return (
        state is RotationState.FAILED or bool(left and taken_up) or bool(late and state is RotationState.RE_ENCRYPTED)
    )


def _steps(found: Rotation) -> list[dict[str, str]]:
    """The three phases of the rotation for the stepper."""
    state = RotationState(found.state)
    moving = {
        RotationState.RE_ENCRYPTING: "current", RotationState.PAUSED: "paused", RotationState.FAILED: "failed",
        RotationState.CANCELLED: "failed",
    }.get(state, "done" if found.re_encrypted_at else "todo")  # fmt: skip
    ending = {
        RotationState.RE_ENCRYPTED: "waiting", RotationState.DECOMMISSIONED: "waiting", RotationState.COMPLETED: "done",
    }.get(state, "todo")  # fmt: skip
    due = found.old_version.deletion_due_at
    note = f"destroyed after {due:%-d %b %Y}" if state is RotationState.DECOMMISSIONED and due else ""
    return [
        {
            "title": "Introduce",
            "state": "done" if found.introduced_at else "current",
            "note": f"{found.introduced_at:%-d %b %Y, %H:%M}" if found.introduced_at else "",
        },
        {
            "title": "Re-encrypt",
            "state": moving,
            "note": f"{found.re_encrypted_at:%-d %b %Y, %H:%M}" if found.re_encrypted_at else "",
        },
        {"title": "Decommission", "state": ending, "note": note},
    ]


class OneRotation(OneWalk):
    walk = visible_rotation
    page = "keys:rotation-detail"


class Pause(OneRotation, WalkAct):
    service = rotation.pause
    done = "Paused. Workers stop after the page they are on."


class ResumeRotation(OneRotation, WalkAct):
    service = rotation.resume
    done = "Resumed."


class Retry(OneRotation, WalkAct):
    service = rotation.retry_failed
    done = "Workers begin again; the items set aside are read again, too."


class Throttle(OneRotation, WalkThrottle):
    service = rotation.throttle


class Cancel(OneRotation, WalkConfirm):
    danger = True
    service = rotation.cancel
    words = (
        "Cancel this rotation",
        "The new version stays active. What has not been moved stays on the old version, readable.",
        "Cancel the rotation",
    )
    done = "The rotation is cancelled."

    def consequences(self, found: Rotation) -> list[str]:
        jobs = [reencryption.progress(job) for job in found.jobs.select_related("store")]
        return [
            f"{job.label}: {job.done:,} of {job.total:,} {job.unit} are moved, the rest stays where it is."
            for job in jobs
        ]


class Decommission(OneRotation, WalkConfirm):
    danger = True
    required_permission = Permission.KEY_DESTROY
    service = rotation.request_decommission
    words = (
        "Decommission the old version",
        "The census is taken again and a sample is read before anything happens. Then the old version waits out its grace period.",
        "Ask for decommissioning",
    )
    done = "The old version now waits out its grace period."
    irreversible = AFTER_GRACE

    def consequences(self, found: Rotation) -> list[str]:
        return rotation.consequences(found)

    def needs_approval(self, found: Rotation) -> str:
        return agreement_words(found.key.policy.destroy_groups)


class CancelDecommission(OneRotation, WalkConfirm):
    required_permission = Permission.KEY_DESTROY
    service = rotation.cancel_decommission
    words = ("Keep the old version", "The clock stops and the old version may open data again.", "Keep it")
    done = "The old version stays."


class GiveUpOpen(OneRotation, WalkConfirm):
    """Give up everything that waits for a decision, after typing how many they are."""

    danger = True
    form = GiveUpForm
    required_permission = Permission.KEY_DESTROY
    service = rotation.give_up_open
    words = (
        "Give up what was set aside",
        "What is given up stays where it is, unreadable, and is no longer in the way of ending the old version.",
        "Give them up",
    )
    done = "The items are given up; the reason is in the record."

    def consequences(self, found: Rotation) -> list[str]:
        counted = rotation.open_items(found).values_list("store__title", "column", "reason").annotate(n=Count("pk"))
        rows = list(counted.order_by("store__title", "column", "reason"))
        total = sum(number for *_, number in rows)
        return [
            f"{total:,} item{'s' if total != 1 else ''} wait{'s' if total == 1 else ''} for a decision.",
            *[f"{store}, {column}: {number:,} ({FailedItem.words_for(why)})." for store, column, why, number in rows],
        ]


class DecideFailed(ActorRequiredMixin, View):
    """Give an unreadable item up, with a reason: the one way past it that is not reading it."""

    required_permission = Permission.KEY_DESTROY

    def post(self, request: HttpRequest, rotation_id: UUID, item_id: int) -> HttpResponse:
        found = visible_rotation(request, rotation_id)
        form = ReasonForm(request.POST)
        if not form.is_valid():
            raise ValidationFailed(
                "Say why this item is given up.",
                errors=errors_of(form),
            )
        rotation.decide_failed(
            actor=actor_of(request), rotation_id=found.pk, item_id=item_id, reason=form.cleaned_data["reason"]
        )
        messages.success(request, "The item is given up; the reason is in the record.")
        return redirect(reverse("keys:rotation-detail", args=[found.pk]) + "#failed")
