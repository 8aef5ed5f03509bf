"""Keys made elsewhere: the pages that open an import, say how to wrap, take what is sent, and take components of custodians."""

from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.keycheck import check_method
from keys.forms import KeyForm, ReasonForm, ServiceForm
from keys.models import Key, KeyExport, KeyImport
from keys.sealed_forms import SealedForm
from keys.services import commands, imports
from keys.services.imports.components import bound_to, public_key
from keys.services.imports.frame import entered
from keys.services.overview import visible_exports, visible_imports
from keys.states import OPEN_IMPORTS, ImportState
from keys.views.keys import visible_key
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.errors import NotFound
from keyvault_portal.paging import page_context
from keyvault_portal.visible import found

METHODS = KeyImport.Method.choices
HOW = (
    "The wrapping key of the page is good for this import only and for 24 hours. Private keys travel by RSA-AES key wrap or HPKE. "
    "Components are for keys that custodians carry on paper: one person, one component, seven days."
)


class ImportForm(ServiceForm):
    method = forms.ChoiceField(
        choices=METHODS, initial=KeyImport.Method.RSA_AES_KW, label="How it comes", help_text=HOW
    )
    component_values = forms.CharField(
        required=False, max_length=100, label="Check values of the components",
        help_text="Only for components: one value of six digits for each, in order, separated by spaces.",
    )  # fmt: skip
    check_value = forms.CharField(
        required=False, max_length=20, label="Check value of the whole key",
        help_text="As its sender gave it. Needed for components; otherwise it may come with the upload.",
    )  # fmt: skip
    from_export = forms.ModelChoiceField(
        KeyExport.objects.none(), required=False, label="What comes back", empty_label="Nothing that was given out here",
        help_text="Only for a key that was given out under another key of the hierarchy.",
    )  # fmt: skip
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), max_length=2000, help_text="Kept in the record.")

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer_exports(actor)

    def offer_exports(self, actor: Actor) -> None:
        """The exports that may come back, newest first."""
        exports = visible_exports(actor).filter(method=KeyExport.Method.KEY).select_related("version__key")
        cast("forms.ModelChoiceField[KeyExport]", self.fields["from_export"]).queryset = exports.order_by("-created_at")

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        values["component_values"] = values["component_values"].replace(",", " ").split()
        values["from_export"] = values["from_export"].pk if values["from_export"] else None
        return values


class NewKeyImportForm(ImportForm, KeyForm):
    """What a new key is, and how its first version comes."""

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        KeyForm.__init__(self, *args, actor=actor, **kwargs)
        ImportForm.offer_exports(self, actor)


class UploadForm(ServiceForm):
    nonce = forms.CharField(widget=forms.HiddenInput, max_length=64, required=False)
    upload = forms.FileField(label="The wrapped key", help_text="The file upload.bin that the commands made.")
    check_value = forms.CharField(max_length=20, label="Check value", help_text="Six digits, from the last command.")

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        values["wrapped"] = values.pop("upload").read(imports.MOST_BYTES + 1)
        return values


class ImportList(ActorRequiredMixin, View):
    """Where a custodian finds the import that waits for a component."""

    required_permission = Permission.KEY_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        rows = visible_imports(actor_of(request)).select_related("key__ring")
        names = ("Key", "How it comes", "State", "Opened by", "Opened", "Ends")
        context = page_context(request, rows, ["-created_at", "-id"]) | {
            "title": "Keys on their way in", "columns": [{"label": name} for name in names], "empty_title": "No key was imported",
            "empty_text": "Open an import from the page of a key, or make a new key from material made elsewhere.",
            "may_open": actor_of(request).can_somewhere(Permission.KEY_IMPORT),
        }  # fmt: skip
        return render(request, "keys/import_list.html", context)


class ImportNew(ActorRequiredMixin, View):
    """A new key of material made elsewhere."""

    required_permission = Permission.KEY_IMPORT

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, NewKeyImportForm(actor=actor_of(request)))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = NewKeyImportForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            row = form.run(lambda values: imports.open_import_of_new_key(actor=actor_of(request), **values))
            if row is not None:
                return redirect("keys:import-detail", row.pk)
        return self._page(request, form, status=422)

    def _page(self, request: HttpRequest, form: NewKeyImportForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Import a new key", "form": form, "submit_label": "Open the import", "cancel_url": "/keys/",
            "intro": "The key is named and placed now; its material comes next, wrapped for this import alone or in components.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class ImportOpen(ActorRequiredMixin, View):
    """The next version of a key, of material made elsewhere."""

    required_permission = Permission.KEY_IMPORT

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self._key(request, key_id)
        return self._page(request, key, ImportForm(actor=actor_of(request)))

    def post(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        key = self._key(request, key_id)
        form = ImportForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            row = form.run(lambda values: imports.open_import(actor=actor_of(request), key_id=key.pk, **values))
            if row is not None:
                return redirect("keys:import-detail", row.pk)
        return self._page(request, key, form, status=422)

    @staticmethod
    def _key(request: HttpRequest, key_id: UUID) -> Key:
        key = visible_key(request, key_id)
        authorize(actor_of(request), Permission.KEY_IMPORT, ring_id=key.ring_id, target=str(key))
        return key

    @staticmethod
    def _page(request: HttpRequest, key: Key, form: ImportForm, status: int = 200) -> HttpResponse:
        after = (
            "It is in use at once."
            if key.current is None
            else "It waits until somebody takes it into use, which begins a rotation to it."
        )
        context = {
            "title": f"Import a version of {key.title}", "form": form, "submit_label": "Open the import", "cancel_url": f"/keys/{key.pk}/",
            "intro": f"Material made elsewhere becomes the next version. {after}",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


def _visible(request: HttpRequest, import_id: UUID) -> KeyImport:
    rows = visible_imports(actor_of(request)).select_related("key__ring", "key__policy", "version")
    return found(rows, import_id, "import")


class ImportDetail(ActorRequiredMixin, View):
    """How far it is, and what the person who looks at it can do next."""

    required_permission = Permission.KEY_VIEW

    @method_decorator(never_cache)
    def get(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        row = _visible(request, import_id)
        return import_page(request, row, UploadForm(initial={"nonce": row.nonce, "check_value": row.check_value}))


class ImportUpload(ActorRequiredMixin, View):
    required_permission = Permission.KEY_IMPORT

    @method_decorator(never_cache)
    def post(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        row = _visible(request, import_id)
        authorize(actor_of(request), Permission.KEY_IMPORT, ring_id=row.key.ring_id, target=str(row))
        form = UploadForm(request.POST, request.FILES)
        if form.is_valid():
            done = form.run(lambda values: imports.receive_upload(actor=actor_of(request), import_id=row.pk, **values))
            if done is not None:
                messages.success(request, "It has arrived and is being checked.")
                return redirect("keys:import-detail", row.pk)
        return import_page(request, row, form, status=422)


class ComponentEnter(ActorRequiredMixin, View):
    """One custodian, one component."""

    required_permission = Permission.KEY_COMPONENT

    @method_decorator(never_cache)
    def get(self, request: HttpRequest, import_id: UUID, number: int) -> HttpResponse:
        return self._page(request, self._row(request, import_id), number, SealedForm())

    @method_decorator(never_cache)
    def post(self, request: HttpRequest, import_id: UUID, number: int) -> HttpResponse:
        row, form = self._row(request, import_id), SealedForm(request.POST)
        if form.is_valid():
            actor = actor_of(request)
            done = form.run(
                lambda values: imports.hand_in_component(actor=actor, import_id=row.pk, number=number, **values)
            )
            if done is not None:
                messages.success(request, f"Component {number} has arrived and is being compared.")
                return redirect("keys:import-detail", row.pk)
        return self._page(request, row, number, form, status=422)

    @staticmethod
    def _row(request: HttpRequest, import_id: UUID) -> KeyImport:
        row = _visible(request, import_id)
        authorize(actor_of(request), Permission.KEY_COMPONENT, ring_id=row.key.ring_id, target=str(row))
        return row

    @staticmethod
    def _page(request: HttpRequest, row: KeyImport, number: int, form: SealedForm, status: int = 200) -> HttpResponse:
        if not 1 <= number <= row.components_wanted:
            raise NotFound("This import has no such component.")
        actor, key = actor_of(request), public_key(row).hex()
        assert actor.id is not None  # only people have pages
        bound = bound_to(row.pk, number, actor.id).decode()
        context = {
            "title": f"Component {number} of {row.components_wanted}", "form": form, "row": row, "key": key, "bound": bound,
            "digits": 2 * ALGORITHMS[row.key.algorithm].key_bytes, "value": row.component_values[number - 1],
            "how": check_method(row.key.algorithm), "command": commands.seal_command(key, bound), "number": number,
        }  # fmt: skip
        return render(request, "keys/component.html", context, status=status)


class ImportAbort(ActorRequiredMixin, View):
    required_permission = Permission.KEY_IMPORT

    def get(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        return self._page(request, self._row(request, import_id), ReasonForm())

    def post(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        row, form = self._row(request, import_id), ReasonForm(request.POST)
        done = (
            None
            if not form.is_valid()
            else form.run(lambda values: imports.abort_import(actor=actor_of(request), import_id=row.pk, **values))
        )
        if done is not None:
            messages.success(request, "The import is aborted, and what had arrived is erased.")
            return redirect("keys:import-detail", row.pk)
        return self._page(request, row, form, status=422)

    @staticmethod
    def _row(request: HttpRequest, import_id: UUID) -> KeyImport:
        row = _visible(request, import_id)
        authorize(actor_of(request), Permission.KEY_IMPORT, ring_id=row.key.ring_id, target=str(row))
        return row

    @staticmethod
    def _page(request: HttpRequest, row: KeyImport, form: ReasonForm, status: int = 200) -> HttpResponse:
        gone = row.components.count()
        consequences = [
            "The wrapping key of this import is erased: what was wrapped for it opens nowhere any more.",
        ]
        if gone:
            consequences.append(
                f"{gone} component{'' if gone == 1 else 's'} that custodians have entered {'is' if gone == 1 else 'are'} erased."
            )
        context = {
            "title": f"Abort the import of {row.key.title}", "form": form, "consequences": consequences, "danger": True,
            "submit_label": "Abort and erase", "cancel_url": f"/keys/imports/{row.pk}/",
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)


def import_page(request: HttpRequest, row: KeyImport, form: UploadForm, status: int = 200) -> HttpResponse:
    """The page of one import, with the upload form as it is."""
    actor, key = actor_of(request), row.key
    components = row.method == KeyImport.Method.COMPONENTS
    here = entered(row)
    is_open = row.state == ImportState.OPEN.value
    may_import = actor.can(Permission.KEY_IMPORT, key.ring_id)
    context: dict[str, Any] = {
        "title": f"Import of {key.title}", "row": row, "key": key, "state": row.shown_state, "form": form, "is_open": is_open,
        "components": components, "steps": _steps(row, len(here)),
        "is_live": row.state in {ImportState.RECEIVED.value, ImportState.HANDED.value} or any(one.arrived for one in here.values()),
        "may_import": may_import, "may_abort": may_import and ImportState(row.state) in OPEN_IMPORTS,
        "facts": [
            ("Key", f"{key.ring.name}/{key.name}"), ("Algorithm", key.algorithm), ("Goes to", key.provider),
            ("How it comes", row.get_method_display()),
            ("Check value", f"{row.check_value or 'comes with the upload'}, {check_method(key.algorithm)}"),
            ("Opened", f"{row.created_at:%-d %b %Y, %H:%M} by {row.opened_by}"),
            ("Ends", f"{row.expires_at:%-d %b %Y, %H:%M} UTC"), ("Reason", row.reason),
        ],
    }  # fmt: skip
    if components:
        context["places"] = [
            {"number": number, "value": value, "entered": here.get(number)}
            for number, value in enumerate(row.component_values, 1)
        ]
        context["why_not"] = imports.may_enter(actor, row)
    elif is_open and row.public_key is not None:
        context |= {
            "wrapping_pem": commands.pem(bytes(row.public_key)), "wrap": commands.wrap_commands(row.wrap_method),
            "check": commands.check_commands(key.algorithm), "past_us": row.method == KeyImport.Method.PROVIDER,
            "private_key": not ALGORITHMS[key.algorithm].symmetric,
        }  # fmt: skip
    elif is_open and row.from_export is not None:
        context["came_from"] = row.from_export
    return render(request, "keys/import_detail.html", context, status=status)


def _steps(row: KeyImport, components: int) -> list[dict[str, str]]:
    arriving = f"{components} of {row.components_wanted} components" if row.components_wanted else "the wrapped key"
    titles = [
        ("Material arrives", arriving),
        ("It is checked", "size and check value"),
        ("It is at its provider", row.key.provider),
    ]
    reached = {"open": 0, "received": 1, "handed": 2, "done": 3}.get(row.state)
    if reached is None:
        return [{"title": "Import", "state": "failed", "note": f"{row.state}; everything that had arrived is erased"}]
    states = ["done" if place < reached else "waiting" if place == reached else "todo" for place in range(3)]
    return [{"title": title, "note": note, "state": state} for (title, note), state in zip(titles, states, strict=True)]
