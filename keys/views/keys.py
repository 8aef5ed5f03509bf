"""Keys: list, hierarchy and the page of one key with its timeline."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View

from keys.crypto.algorithms import ALGORITHMS
from keys.forms import KeyFilterForm, KeyForm, PolicyForm
from keys.hierarchy import KeyKind
from keys.models import DataKey, Key, KeyVersion, Move, Rotation
from keys.services import budget, census, lifecycle
from keys.services.exports.giving import exports_of, why_not
from keys.services.imports import frame as imports
from keys.services.imports.bringing import takes_material
from keys.services.overview import visible_keys
from keys.services.providers import intents, replication
from keys.services.versions import is_made
from keys.states import RotationState, VersionState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.downloads import list_download
from keyvault_portal.paging import page_context
from keyvault_portal.templatetags.portal import duration, quorum
from keyvault_portal.visible import found

KIND_ICONS = {"master": "lock", "kek": "key", "dek": "database", "token_signing": "token", "transport": "session"}
TREE_LIMIT = 500
_AT_WORK = {
    state.value
    for state in (RotationState.INTRODUCING, RotationState.RE_ENCRYPTING, RotationState.PAUSED, RotationState.FAILED)
}
EXPORTED = {
    "ring": "ring__name", "name": "name", "title": "title", "kind": "kind", "algorithm": "algorithm", "provider": "provider",
    "wrapped_by": "parent__name", "version": "current__key_version", "state": "current__status",
    "next_rotation_at": "next_rotation_at", "created_at": "created_at", "created_by": "created_by", "id": "id",
}  # fmt: skip
ORDERS = {
    "name": ["name", "id"],
    "-name": ["-name", "-id"],
    "due": ["next_rotation_at", "id"],
    "-due": ["-next_rotation_at", "-id"],
}


def visible_key(request: HttpRequest, key_id: UUID) -> Key:
    """The key, or NotFound when it does not exist or this person may not see it: the two look alike."""
    rows = visible_keys(actor_of(request)).select_related("ring", "parent", "current", "policy")
    return found(rows, key_id, "key")


def agreement_words(groups: list[dict[str, Any]]) -> str:
    """Who must agree, as words; nothing when nobody must."""
    return f"{quorum(groups).capitalize()} besides you." if groups else ""


class KeyList(ActorRequiredMixin, View):
    required_permission = Permission.KEY_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        form = KeyFilterForm(request.GET or None, actor=actor_of(request))
        keys = visible_keys(actor_of(request)).select_related("ring", "current", "parent", "policy")
        if form.is_valid():
            keys = form.apply(keys)
        order = ORDERS.get(request.GET.get("sort", ""), ORDERS["name"])
        if "next_rotation_at" in order[0]:
            keys = keys.exclude(next_rotation_at=None)
        if download := list_download(actor_of(request), request, "keys", keys.order_by(*order), EXPORTED):
            return download
        context = page_context(request, keys, order) | {"exportable": True}
        context["object_list"] = [{"key": key, "budget": budget.of_key(key)} for key in context["object_list"]]
        return render(
            request,
            "keys/key_list.html",
            context
            | {
                "title": "Keys", "empty_title": "There is no key yet",
                "empty_text": "Begin with a master key, then key encryption keys below it, then keys for data and tokens.",
                "filter_form": form,
                "now": timezone.now(),
                "may_create": actor_of(request).can_somewhere(Permission.KEY_CREATE),
                "columns": [
                    {"label": "Key", "sort": "name"}, {"label": "Kind"}, {"label": "Algorithm"}, {"label": "Ring"},
                    {"label": "Version", "num": True}, {"label": "State"}, {"label": "Rotation due", "sort": "due"},
                ],
            },
        )  # fmt: skip


class Hierarchy(ActorRequiredMixin, View):
    """Master keys at the top, what they wrap below; one query, at most TREE_LIMIT keys a page."""

    required_permission = Permission.KEY_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        keys = visible_keys(actor_of(request)).select_related("current")
        root = request.GET.get("root", "")
        if root:
            keys = keys.filter(Q(pk=root) | Q(parent=root) | Q(parent__parent=root)) if _is_uuid(root) else keys.none()
        found = list(keys.order_by("name", "id")[: TREE_LIMIT + 1])
        shown = found[:TREE_LIMIT]
        nodes = {key.pk: _node(key) for key in shown}
        roots: list[dict[str, Any]] = []
        for key in shown:
            parent = nodes.get(key.parent_id) if key.parent_id else None
            (parent["children"] if parent else roots).append(nodes[key.pk])
            if parent and str(key.parent_id) != root:
                parent["zoom_url"] = f"?root={key.parent_id}"
        for node in nodes.values():
            node["open"] = node["kind"] in {"master", "kek"}
        return render(
            request,
            "keys/hierarchy.html",
            {
                "title": "Key hierarchy", "nodes": roots, "truncated": len(found) > TREE_LIMIT, "limit": TREE_LIMIT, "root": root,
                "above": _above(request, root) if root and roots else [],
                "levels": [(1, "Master keys"), (2, "Key encryption keys"), (3, "Everything")],
            },
        )  # fmt: skip


def _above(request: HttpRequest, root: str) -> list[Key]:
    """The visible keys over one key, the topmost first."""
    key = visible_keys(actor_of(request)).filter(pk=root).select_related("parent__parent").first()
    line = [key.parent.parent if key.parent else None, key.parent] if key else []
    rings = actor_of(request).ring_ids(Permission.KEY_VIEW)
    return [over for over in line if over and (rings is None or over.ring_id in rings)]


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _state(key: Key) -> str:
    """The state of the version in use; a key in use whose time is over is overdue."""
    state, due = key.current.status if key.current else "pre_active", key.rotation_due_in
    return "overdue" if state == VersionState.ACTIVE.value and due is not None and due < timedelta(0) else state


def _may_rotate(actor: Actor, key: Key, move: Move | None, rotations: list[Rotation]) -> bool:
    """Whether asking for a rotation now would not be refused at once: there is a version to rotate from, and no other way open."""
    from_here = key.current is not None and key.current.state in {VersionState.ACTIVE, VersionState.COMPROMISED}
    at_work = move is not None or any(rotation.state in _AT_WORK for rotation in rotations)
    return from_here and not at_work and actor.can(Permission.KEY_ROTATE, key.ring_id)


def _node(key: Key) -> dict[str, Any]:
    version = f"v{key.current.key_version}, " if key.current else ""
    return {
        "title": key.title, "url": f"/keys/{key.pk}/", "kind": key.kind, "icon": KIND_ICONS[key.kind],
        "state": _state(key),
        "note": f"{version}{key.algorithm}, {key.provider}{_due_words(key.rotation_due_in)}", "children": [],
    }  # fmt: skip


def _due_words(due: timedelta | None) -> str:
    if due is None:
        return ""
    return f", rotation due in {duration(due)}" if due > timedelta(0) else f", rotation overdue for {duration(-due)}"


class KeyDetail(ActorRequiredMixin, View):
    required_permission = Permission.KEY_VIEW

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = visible_key(request, key_id)
        actor = actor_of(request)
        versions = list(key.versions.order_by("-key_version")[:50])
        counts = census.stored_counts([version.pk for version in versions])
        current = key.current
        algorithm = ALGORITHMS[key.algorithm]
        policy = key.policy
        move = Move.objects.filter(key=key, ended_at=None).first()
        rotations = list(
            Rotation.objects.filter(key=key).select_related("old_version", "new_version").order_by("-created_at")[:10]
        )
        copies = replication.copies_of(versions) if intents.is_remote(key) else {}
        rows = [
            _version_row(version, counts.get(version.pk, 0)) | {"copies": copies.get(version.pk)}
            for version in versions
        ]
        return render(
            request,
            "keys/key_detail.html",
            {
                "title": key.title, "key": key, "state": _state(key), "algorithm": algorithm,
                "work": list(intents.of_key(key)) if intents.is_remote(key) or any(map(intents.is_remote, versions)) else [],
                "move": move,
                "policy": policy, "versions": rows, "children": list(key.children.select_related("current").order_by("name")[:50]),
                "budget": budget.status(current) if current else None, "rotations": rotations, "may_rotate": _may_rotate(actor, key, move, rotations),
                "waiting": list(approvals.visible_requests(actor).filter(target_type="key", target_id=str(key.pk), state="pending")[:5]),
                "data_keys": DataKey.objects.filter(version__key=key)[:1001].count(),
                "events": audit.events_for_target("key", str(key.pk), 15) if actor.can(Permission.AUDIT_VIEW, key.ring_id) else [],
                "may": {
                    "rotate": actor.can(Permission.KEY_ROTATE, key.ring_id), "move": actor.can(Permission.KEY_MOVE, key.ring_id),
                    "edit": actor.can(Permission.KEY_EDIT, key.ring_id),
                    "disable": actor.can(Permission.KEY_DISABLE, key.ring_id), "compromise": actor.can(Permission.KEY_COMPROMISE, key.ring_id),
                    "destroy": actor.can(Permission.KEY_DESTROY, key.ring_id), "export": actor.can(Permission.KEY_EXPORT, key.ring_id),
                    "hold_ceremony": key.kind == KeyKind.MASTER.value and actor.can(Permission.CEREMONY_MANAGE, key.ring_id),
                },
                "imports": list(imports.of_key(key)[:5]), "exports": list(exports_of(key)),
                "export_refused": why_not(key), "may_import": actor.can(Permission.KEY_IMPORT, key.ring_id) and takes_material(key),
                "facts": [
                    ("Ring", key.ring), ("Kind", key.get_kind_display()), ("Algorithm", f"{key.algorithm} ({algorithm.standing.value})"),
                    ("Standard", algorithm.clause), ("Wrapped by", key.parent), ("Provider", key.provider), ("Purpose", key.purpose),
                    ("Can be exported", (why_not(key) and f"No. {why_not(key)}") or "Yes: wrapped, and only by agreement."),
                    ("Identifier", key.pk), ("Created", f"{key.created_at:%-d %b %Y, %H:%M} by {key.created_by}"),
                ],
            },
        )  # fmt: skip


def _version_row(version: KeyVersion, items: int) -> dict[str, Any]:
    return {
        "version": version, "title": f"Version {version.key_version}", "state": version.status,
        "at": version.activated_at or version.created_at, "items": items,
        "can_suspend": version.state in {VersionState.ACTIVE, VersionState.DECRYPT_ONLY},
        "can_resume": version.state is VersionState.SUSPENDED,
        "can_compromise": version.state not in {VersionState.COMPROMISED, VersionState.PENDING_DELETION, VersionState.DESTROYED},
        "can_delete": version.state in {VersionState.DECRYPT_ONLY, VersionState.COMPROMISED, VersionState.SUSPENDED},
        "can_cancel_deletion": version.state is VersionState.PENDING_DELETION,
        "can_confirm_deletion": version.state is VersionState.PENDING_DELETION and version.deletion_halted_at is not None,
        "can_activate": version.state is VersionState.PRE_ACTIVE and is_made(version) and version.moved_from_id is None,
    }  # fmt: skip


class KeyCreate(ActorRequiredMixin, View):
    """A new key. A page that needs one links here as `next`, with `kind`, `algorithm` and `exportable` chosen; it is told the `key` made."""

    required_permission = Permission.KEY_CREATE

    def get(self, request: HttpRequest) -> HttpResponse:
        chosen = {name: request.GET[name] for name in ("kind", "algorithm", "exportable") if request.GET.get(name)}
        return self._page(request, KeyForm(actor=actor_of(request), initial=chosen))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = KeyForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            key = form.run(lambda values: lifecycle.create_key(actor=actor_of(request), **values))
            if key is not None:
                back = self._came_from(request)
                return redirect(f"{back}{'&' if '?' in back else '?'}key={key.pk}" if back else f"/keys/{key.pk}/")
        return self._page(request, form, status=422)

    @staticmethod
    def _came_from(request: HttpRequest) -> str:
        """The page of this portal that asked for a key; empty if none did, or it lies elsewhere."""
        back = request.GET.get("next", "")
        return back if back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None) else ""

    def _page(self, request: HttpRequest, form: KeyForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "New key", "form": form, "submit_label": "Create the key", "cancel_url": self._came_from(request) or "/keys/",
            "intro": "The key is made where it is to live, by a worker if that is elsewhere; its material never leaves unwrapped.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class PolicyEdit(ActorRequiredMixin, View):
    """A weaker policy waits for agreement (the service raises ApprovalRequired); a stronger one applies at once."""

    required_permission = Permission.KEY_EDIT

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = visible_key(request, key_id)
        return self._page(request, key, PolicyForm(instance=key.policy))

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = visible_key(request, key_id)
        form = PolicyForm(request.POST, instance=key.policy)
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            done = form.run(
                lambda values: lifecycle.update_policy(
                    actor=actor_of(request), key_id=key.pk, changes=values, reason=reason
                )
            )
            if done is not None:
                return redirect("keys:key-detail", key.pk)
        return self._page(request, key, form, status=422)

    def _page(self, request: HttpRequest, key: Key, form: PolicyForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Policy of {key.title}", "form": form, "submit_label": "Save the policy", "cancel_url": f"/keys/{key.pk}/",
            "intro": "A change that weakens protection takes effect only after the groups that govern destruction agree.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


def key_queryset(request: HttpRequest) -> QuerySet[Key]:
    """Keys this person may see, for choices in forms."""
    return visible_keys(actor_of(request)).order_by("name")
