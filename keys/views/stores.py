"""Data stores and the census."""

from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views import View

from keys.forms import ReasonForm, SealForm, StoreForm
from keys.models import DataStore
from keys.services import census, store_removal, stores
from keys.views.keys import agreement_words
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.downloads import list_download
from keyvault_portal.numbers import counted
from keyvault_portal.paging import page_context
from keyvault_portal.visible import found, on_rings

EXPORTED = {
    "name": "name", "title": "title", "kind": "kind", "format": "format", "schema": "schema_name", "table": "table_name", "columns": "columns",
    "key": "key__name", "ring": "ring__name", "census_at": "census_at", "complaint": "last_error", "id": "id",
}  # fmt: skip
EXPORTED_COUNTS = {
    "store": "store__name", "column": "column", "key": "version__key__name", "version": "version__key_version", "state": "version__status",
    "items": "items", "counted_at": "counted_at",
}  # fmt: skip


def visible_stores(actor: Actor) -> QuerySet[DataStore]:
    """The data stores `actor` may see."""
    return on_rings(DataStore.objects.all(), actor.ring_ids(Permission.STORE_VIEW))


def visible_store(request: HttpRequest, store_id: UUID) -> DataStore:
    """The store, or NotFound when it does not exist or may not be seen."""
    return found(visible_stores(actor_of(request)).select_related("ring", "key"), store_id, "data store")


class StoreList(ActorRequiredMixin, View):
    required_permission = Permission.STORE_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        rows = visible_stores(actor_of(request)).select_related("ring", "key")
        if download := list_download(actor_of(request), request, "data-stores", rows.order_by("name", "id"), EXPORTED):
            return download
        context = page_context(request, rows, ["name", "id"]) | {
            "exportable": True,
            "title": "Data stores", "may_create": actor_of(request).can_somewhere(Permission.STORE_MANAGE),
            "may_seal": actor_of(request).can(Permission.STORE_MANAGE),
            "unsealed": not DataStore.objects.filter(kind=DataStore.Kind.SEALED_VALUES).exists(),
            "columns": [{"label": "Store"}, {"label": "Where"}, {"label": "Format"}, {"label": "Key"}, {"label": "State"}, {"label": "Last census"}],
            "empty_title": "No data store is registered", "empty_text": "Register the table whose encrypted columns the portal should follow.",
        }  # fmt: skip
        return render(request, "keys/store_list.html", context)


class StoreCreate(ActorRequiredMixin, View):
    """Tests what is typed before it is kept; a store that cannot be read is refused with the reason."""

    required_permission = Permission.STORE_MANAGE

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, StoreForm(actor=actor_of(request)))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = StoreForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            if "test" in request.POST:
                report = form.run(lambda values: stores.test_store(actor=actor_of(request), **values))
                return self._page(request, form, report=report)
            store = form.run(lambda values: stores.register_store(actor=actor_of(request), **values))
            if store is not None:
                messages.success(request, f"{store} is registered.")
                return redirect("keys:store-detail", store.pk)
        return self._page(request, form, status=422)

    def _page(self, request: HttpRequest, form: StoreForm, report: object = None, status: int = 200) -> HttpResponse:
        context = {
            "title": "Register a data store",
            "form": form,
            "report": report,
            "submit_label": "Register",
            "cancel_url": "/keys/stores/",
        }
        return render(request, "keys/store_form.html", context, status=status)


class StoreSeal(ActorRequiredMixin, View):
    """Chooses the data key under which the portal seals its own values, such as the addresses of data stores."""

    required_permission = Permission.STORE_MANAGE

    def get(self, request: HttpRequest) -> HttpResponse:
        authorize(actor_of(request), Permission.STORE_MANAGE, target="everything")
        return self._page(request, SealForm(actor=actor_of(request)))

    def post(self, request: HttpRequest) -> HttpResponse:
        authorize(actor_of(request), Permission.STORE_MANAGE, target="everything")
        form = SealForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            store = form.run(lambda values: stores.register_sealed_values(actor=actor_of(request), **values))
            if store is not None:
                messages.success(request, f"The portal seals its own values under {store.key}.")
                return redirect("keys:store-detail", store.pk)
        return self._page(request, form, status=422)

    def _page(self, request: HttpRequest, form: SealForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Seal the portal's own values", "form": form, "submit_label": "Seal under this key", "cancel_url": "/keys/stores/",
            "intro": "Connections of data stores and other secrets of the portal itself are kept encrypted under a data key of yours.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class StoreDetail(ActorRequiredMixin, View):
    required_permission = Permission.STORE_VIEW

    def get(self, request: HttpRequest, store_id: UUID) -> HttpResponse:
        store = visible_store(request, store_id)
        where = f"{store.schema_name}.{store.table_name}" if store.table_name else "this portal"
        context = {
            "title": store.title, "store": store, "state": "unreachable" if store.last_error else "reachable",
            "counts": census.stored_for_store(store.pk), "jobs": list(store.jobs.select_related("rotation").order_by("-created_at")[:10]),
            "may_manage": actor_of(request).can(Permission.STORE_MANAGE, store.ring_id),
            "may_deregister": store.kind != DataStore.Kind.SEALED_VALUES
            and actor_of(request).can(Permission.STORE_MANAGE, store.ring_id),
            "facts": [
                ("Kind", store.get_kind_display()), ("Where", where), ("Primary key", store.primary_key), ("Columns", ", ".join(store.columns)),
                ("Format", store.get_format_display()), ("Key", store.key), ("Ring", store.ring),
                ("Rate limit", f"{store.rate_limit} items/s" if store.rate_limit else "none"), ("Registered by", store.created_by),
            ],
        }  # fmt: skip
        return render(request, "keys/store_detail.html", context)


class StoreCensus(ActorRequiredMixin, View):
    """Count again now; a big table is counted by a worker and the page shows the last count meanwhile."""

    required_permission = Permission.STORE_VIEW

    def post(self, request: HttpRequest, store_id: UUID) -> HttpResponse:
        store = visible_store(request, store_id)
        census.request_count(actor=actor_of(request), store_id=store.pk)
        messages.info(request, "The census is being taken; the counts appear here in a moment.")
        return redirect("keys:store-detail", store.pk)


class StoreCheck(ActorRequiredMixin, View):
    required_permission = Permission.STORE_MANAGE

    def post(self, request: HttpRequest, store_id: UUID) -> HttpResponse:
        store = visible_store(request, store_id)
        report = stores.check_store(actor=actor_of(request), store_id=store.pk)
        messages.success(request, f"The store answers: {counted(report.items, 'item', 'items')} sampled, all readable.")
        return redirect("keys:store-detail", store.pk)


class StoreDeregister(ActorRequiredMixin, View):
    """Says what is no longer counted afterwards, then asks."""

    required_permission = Permission.STORE_MANAGE

    def get(self, request: HttpRequest, store_id: UUID) -> HttpResponse:
        return self._page(request, self._find(request, store_id), ReasonForm())

    def post(self, request: HttpRequest, store_id: UUID) -> HttpResponse:
        store = self._find(request, store_id)
        form, actor = ReasonForm(request.POST), actor_of(request)
        if form.is_valid():
            gone = form.run(lambda values: store_removal.deregister_store(actor=actor, store_id=store.pk, **values))
            if gone is not None:
                messages.success(request, f"{gone} is no longer followed.")
                return redirect("keys:store-list")
        return self._page(request, store, form, status=422)

    def _find(self, request: HttpRequest, store_id: UUID) -> DataStore:
        store = visible_store(request, store_id)
        authorize(actor_of(request), self.required_permission, ring_id=store.ring_id, target=str(store))
        return store

    def _page(self, request: HttpRequest, store: DataStore, form: ReasonForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Deregister {store}", "question": "The portal stops following this store.", "form": form, "danger": True,
            "submit_label": "Deregister it", "consequences": store_removal.consequences(store), "cancel_url": f"/keys/stores/{store.pk}/",
            "needs_approval": agreement_words(store.key.policy.destroy_groups),
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)


class Census(ActorRequiredMixin, View):
    """Which data still stands on which key version: one row a version and store column."""

    required_permission = Permission.STORE_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        counts = census.visible_counts(actor_of(request)).select_related("store", "version", "version__key")
        if download := list_download(actor_of(request), request, "census", counts.order_by("id"), EXPORTED_COUNTS):
            return download
        context = page_context(request, counts, ["id"], size=200) | {
            "exportable": True,
            "title": "Census", "subtitle": "Which data still stands on which key version.",
            "columns": [
                {"label": "Store"}, {"label": "Column"}, {"label": "Key version"}, {"label": "State"},
                {"label": "Items", "num": True}, {"label": "Counted"},
            ],
            "empty_title": "Nothing has been counted yet", "empty_text": "Register a data store; its census is taken at once and every hour.",
        }  # fmt: skip
        return render(request, "keys/census.html", context)
