"""Moves: list, request with a dry run, the live page of one, and what can be done to it."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from keys.forms import ThrottleForm
from keys.models import FailedItem, Key, Move
from keys.move_forms import MoveFilterForm, MoveForm
from keys.services import census, moving, policies, reencryption, rotation
from keys.states import MoveState
from keys.views.keys import agreement_words, visible_key
from keys.views.walks import AFTER_GRACE, OneWalk, WalkAct, WalkConfirm, WalkThrottle
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.audit import services as audit
from keyvault_portal.downloads import list_download
from keyvault_portal.errors import PortalError
from keyvault_portal.paging import page_context
from keyvault_portal.polling import polled
from keyvault_portal.visible import found, on_rings

M = MoveState
EXPORTED = {
    "ring": "key__ring__name", "key": "key__name", "source": "source", "target": "target", "with_material": "with_material",
    "from_version": "old_version__key_version", "to_version": "new_version__key_version", "state": "state", "reason": "reason",
    "requested_by": "requested_by", "created_at": "created_at", "compared": "compared", "switched_at": "switched_at",
    "re_wrapped_at": "re_wrapped_at", "ended_at": "ended_at", "id": "id",
}  # fmt: skip
LIVE = {M.MAKING, M.DUAL_WRAPPING, M.COMPARING, M.RE_WRAPPING, M.PAUSED, M.UNDOING}
PHASES = (
    ("Make at the new place", M.MAKING), ("Dual wrap", M.DUAL_WRAPPING), ("Read back and compare", M.COMPARING), ("Switch", None),
    ("Re-wrap", M.RE_WRAPPING), ("Drop the old", M.DROPPING),
)  # fmt: skip


def visible_moves(actor: Actor) -> QuerySet[Move]:
    """The moves `actor` may see."""
    return on_rings(Move.objects.all(), actor.ring_ids(Permission.ROTATION_VIEW), "key__ring_id")


def visible_move(request: HttpRequest, move_id: UUID) -> Move:
    """The move, or NotFound when it does not exist or may not be seen."""
    rows = visible_moves(actor_of(request)).select_related(
        "key__ring", "key__policy", "old_version__key", "new_version__key", "rotation"
    )
    return found(rows, move_id, "move")


class MoveList(ActorRequiredMixin, View):
    required_permission = Permission.ROTATION_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        rows = visible_moves(actor_of(request)).select_related("key", "old_version", "new_version")
        form = MoveFilterForm(request.GET or None)
        if form.is_valid() and form.cleaned_data["state"]:
            rows = rows.filter(state=form.cleaned_data["state"])
        ordered = rows.order_by("-created_at", "-id")
        if download := list_download(actor_of(request), request, "moves", ordered, EXPORTED):
            return download
        labels = ("Key", "From", "To", "What moves", "State", "Asked by", "Started")
        context = page_context(request, rows, ["-created_at", "-id"]) | {
            "title": "Moves", "subtitle": "Keys on their way from one provider to another.", "exportable": True, "filter_form": form,
            "columns": [{"label": label} for label in labels], "empty_title": "No move yet",
            "empty_text": "Open a key and move it to another provider.",
        }  # fmt: skip
        return render(request, "keys/move_list.html", context)


class MoveRequest(ActorRequiredMixin, View):
    """Says where the key can go and what of it can go along, and what it would take (dry run); then asks."""

    required_permission = Permission.KEY_MOVE

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self._key(request, key_id)
        return self._page(request, key, None)

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self._key(request, key_id)
        form = MoveForm(request.POST, offers=_offers(key))
        if form.is_valid():
            found = form.run(lambda values: moving.request_move(actor=actor_of(request), key_id=key.pk, **values))
            if found is not None:
                return redirect("keys:move-detail", found.pk)
        return self._page(request, key, form)

    def _key(self, request: HttpRequest, key_id: UUID) -> Key:
        key = visible_key(request, key_id)
        authorize(actor_of(request), Permission.KEY_MOVE, ring_id=key.ring_id, target=str(key))
        return key

    def _page(self, request: HttpRequest, key: Key, form: MoveForm | None) -> HttpResponse:
        offers = _offers(key)
        possible = [offer for offer in offers if offer.possible]
        asked = (form["target"].value() if form else request.GET.get("target")) or ""
        target = next((offer for offer in possible if offer.alias == asked), possible[0] if possible else None)
        groups = policies.strictest_groups(policies.values_of(key.policy))
        status = 422 if form else 200
        form = form or MoveForm(initial={"target": target.alias if target else ""}, offers=offers)
        context: dict[str, Any] = {
            "title": f"Move {key.title}", "form": form, "submit_label": "Ask for the move" if groups else "Move it", "key": key,
            "cancel_url": reverse("keys:key-detail", args=[key.pk]), "offers": offers, "target": target,
            "needs_approval": agreement_words(groups),
        }  # fmt: skip
        try:
            version = moving.movable(key)
            context["version"] = version
            if target is not None:
                context["estimate"] = moving.dry_run(actor=actor_of(request), key_id=key.pk, target=target.alias)
                context["consequences"] = moving.consequences(key, version, target.alias, with_material=False)
        except PortalError as error:
            if error.status == 403:
                raise
            context["estimate_error"] = error
        return render(request, "keys/move_request.html", context, status=status)


def _offers(key: Key) -> list[moving.Offer]:
    """Where the key can go; nowhere while it has no version to move."""
    try:
        return moving.places_for(key, moving.movable(key))
    except PortalError:
        return []


class MoveDetail(ActorRequiredMixin, View):
    required_permission = Permission.ROTATION_VIEW

    def get(self, request: HttpRequest, move_id: UUID) -> HttpResponse:
        found = visible_move(request, move_id)
        return polled(request, "keys/move_detail.html", "keys/_move_live.html", move_context(request, found))


def move_context(request: HttpRequest, found: Move) -> dict[str, Any]:
    """Everything the page of one move shows; the live part is the same context in a smaller template."""
    actor, key, state = actor_of(request), found.key, M(found.state)
    walk = found.rotation
    control = actor.can(Permission.ROTATION_CONTROL, key.ring_id)
    may_move = actor.can(Permission.KEY_MOVE, key.ring_id)
    may_destroy = actor.can(Permission.KEY_DESTROY, key.ring_id)
    jobs = walk.jobs.select_related("store").order_by("created_at", "id") if walk else []
    counted = census.stored_for_key(key.pk)
    leaving = found.new_version if found.undo_reason else found.old_version
    left = sum(row.items for row in counted if row.version_id == leaving.pk)
    copies = moving.dead_copies(found)
    open_failed = 0
    if walk is not None:
        items = FailedItem.objects.filter(job__rotation=walk, resolution=FailedItem.Resolution.OPEN)
        open_failed = items[:1001].count()
    return {
        "title": f"Move of {key.title}", "move": found, "key": key, "state": found.state, "shown": found.state,
        "steps": _steps(found), "live": state in LIVE,
        "jobs": [reencryption.progress(job) for job in jobs], "census": counted, "leaving": leaving, "open_failed": open_failed,
        "left": left, "zero": bool(counted and not left and found.switched_at), "next_step": _next_step(found, state) + _copies_words(copies),
        "waits": found.last_error if state in LIVE else "", "stopped": found.last_error if state is M.FAILED else "",
        "work": list(found.new_version.intents.select_related("version__key").order_by("created_at")),
        "may": {
            "pause": control and state in LIVE - {M.PAUSED}, "resume": control and bool(found.held_from),
            "throttle": control and (state in LIVE or state is M.FAILED), "retry": control,
            "undo": may_move and state not in {M.DROPPING, M.COMPLETED, M.UNDOING, M.UNDONE} and found.held_from != M.UNDOING.value,
            "drop": may_destroy and state is M.RE_WRAPPED, "keep": may_destroy and state is M.DROPPING,
        },
        "pause_url": reverse("keys:move-pause", args=[found.pk]), "resume_url": reverse("keys:move-resume", args=[found.pk]),
        "throttle_url": reverse("keys:move-throttle", args=[found.pk]), "nothing_moves": _nothing_moves(found),
        "dead_copies": copies, "may_rotate": actor.can(Permission.KEY_ROTATE, key.ring_id),
        "throttle_form": ThrottleForm(initial={"rate_limit": found.rate_limit}),
        "events": audit.events_for_target("move", str(found.pk), 15) if actor.can(Permission.AUDIT_VIEW, key.ring_id) else [],
        "facts": [
            ("Key", key), ("From", f"version {found.old_version.key_version} at {found.source}"),
            ("To", f"version {found.new_version.key_version} at {found.target}"),
            ("What moves", "the key with its material" if found.with_material else "its work, to a new key there"),
            ("Values compared", f"{found.compared:,}" if found.compared else None), ("Reason", found.reason),
            ("Undone because", found.undo_reason), ("Asked by", found.requested_by),
            ("Started", f"{found.created_at:%-d %b %Y, %H:%M:%S} UTC"),
        ],
    }  # fmt: skip


def _next_step(found: Move, state: MoveState) -> str:
    """What happens next, or what a person has to do."""
    old, new = (f"version {version.key_version}" for version in (found.old_version, found.new_version))
    due = found.old_version.deletion_due_at
    return {
        M.MAKING: f"{found.target} makes {new}; {old} does all the work.",
        M.DUAL_WRAPPING: f"Values that stand on {old} are wrapped at {found.target} as well; {old} does all the work.",
        M.COMPARING: f"They are read back at both places and compared; only then {new} takes over.",
        M.RE_WRAPPING: f"Workers bring over what stands on {old}. Everything new is wrapped at both places; you may leave this page.",
        M.RE_WRAPPED: f"Nothing that was counted stands on {old} any more: drop it, or undo the move while it is there.",
        M.DROPPING: f"{old.capitalize()} is destroyed after {due:%-d %b %Y, %H:%M} UTC; any use of it stops the clock." if due else "",
        M.COMPLETED: f"All done: {old} is destroyed, and the key lives at {found.target}.",
        M.PAUSED: "It stands still until somebody resumes or undoes it. Nothing waits for it.",
        M.FAILED: "Remove the reason and resume, or undo the move. Nothing is lost either way.",
        M.UNDOING: f"Everything goes back to {old} at {found.source}.",
        M.UNDONE: f"The key is at {found.source}, as before." + _left_over(found),
    }[state]  # fmt: skip


def _nothing_moves(found: Move) -> str:
    if found.switched_at is None:
        return "The walk begins after the switch."
    return "Nothing stands on the old version that would have to move."


def _copies_words(copies: int) -> str:
    if not copies:
        return ""
    return (
        f" At most {copies:,} item{'' if copies == 1 else 's'} in data stores still carry a second copy for the old place, which opens "
        "nowhere any more. It goes when an item is written the next time: the next rotation writes them all."
    )


def _left_over(found: Move) -> str:
    new = found.new_version
    if found.switched_at is None or new.status == "destroyed":
        return ""
    return f" Version {new.key_version} at {found.target} protects nothing new; its walk back says when it can be decommissioned."


def _steps(found: Move) -> list[dict[str, str]]:
    """The phases for the stepper: a switch is a moment, so it is done or not."""
    state, at = M(found.state), M(found.held_from or found.state)
    done_at = (
        found.made_at,
        found.wrapped_at,
        found.compared_at,
        found.switched_at,
        found.re_wrapped_at,
        found.ended_at,
    )
    going = {M.PAUSED: "paused", M.FAILED: "failed"}.get(state, "current")
    shown = []
    for (title, phase), moment in zip(PHASES, done_at, strict=True):
        look = "done" if moment else "todo"
        if phase is not None and phase is at:
            look = "waiting" if phase is M.DROPPING or (phase is M.COMPARING and moment) else going
        if phase is M.DROPPING and state is M.RE_WRAPPED:
            look = "waiting"
        if (at in {M.UNDOING, M.UNDONE} and look != "done") or (phase is M.DROPPING and at is M.UNDONE):
            look = "todo"
        shown.append(
            {"title": title, "state": look, "note": f"{moment:%-d %b %Y, %H:%M}" if moment and look == "done" else ""}
        )
    if at in {M.UNDOING, M.UNDONE}:
        shown.append({"title": "Undo", "state": "done" if state is M.UNDONE else going, "note": ""})
    return shown


class OneMove(OneWalk):
    walk = visible_move
    page = "keys:move-detail"


class MovePause(OneMove, WalkAct):
    service = moving.pause_move
    done = "Paused."


class MoveResume(OneMove, WalkAct):
    service = moving.resume_move
    done = "It goes on."


class MoveThrottle(OneMove, WalkThrottle):
    service = moving.throttle_move


class MoveUndo(OneMove, WalkConfirm):
    required_permission = Permission.KEY_MOVE
    service = moving.undo_move
    words = (
        "Undo this move",
        "The key goes back to where it was. Nothing that was protected meanwhile is lost.",
        "Undo the move",
    )
    done = "The move is being undone."
    danger = True

    def consequences(self, found: Move) -> list[str]:
        if found.switched_at is None:
            return [f"Nothing stands on version {found.new_version.key_version} yet: it is let go at {found.target}."]
        jobs = (
            [reencryption.progress(job) for job in found.rotation.jobs.select_related("store")]
            if found.rotation
            else []
        )
        return [
            f"Version {found.old_version.key_version} at {found.source} protects again, at once.",
            *(f"{job.label}: {job.done:,} {job.unit} walk back." for job in jobs),
            f"What {found.target} does not open any more is opened from its copy at {found.source}.",
        ]


class MoveDrop(OneMove, WalkConfirm):
    required_permission = Permission.KEY_DESTROY
    service = moving.drop_old
    words = (
        "Drop the old version",
        "The census is taken again and a sample is read before anything happens. Then the old version waits out its grace period.",
        "Ask for dropping it",
    )
    done = "The old version now waits out its grace period."
    irreversible = AFTER_GRACE

    def consequences(self, found: Move) -> list[str]:
        return rotation.consequences(found.rotation) if found.rotation else []

    def needs_approval(self, found: Move) -> str:
        return agreement_words(found.key.policy.destroy_groups)


class MoveKeep(OneMove, WalkConfirm):
    required_permission = Permission.KEY_DESTROY
    service = moving.keep_old
    words = (
        "Keep the old version",
        "The clock stops, everything new is wrapped at both places again, and the move can be undone.",
        "Keep it",
    )
    done = "The old version stays."
