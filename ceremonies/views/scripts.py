"""Scripts: those that can be held, those that wait, one to read and print, and an upload."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views import View

from ceremonies.forms import ScriptForm
from ceremonies.models import ScriptTemplate
from ceremonies.models.scripts import KINDS
from ceremonies.services import scripts
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of


class ScriptList(ActorRequiredMixin, View):
    required_permission = Permission.CEREMONY_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor = actor_of(request)
        context = {
            "title": "Ceremony scripts", "subtitle": "Everybody confirms a script's hash before it is held.",
            "scripts": [(label, script, dict(KINDS)[script.kind]) for label, script in scripts.usable_scripts().items()],
            "waiting": ScriptTemplate.objects.filter(approved_at=None),
            "may_upload": actor.can_somewhere(Permission.CEREMONY_MANAGE),
        }  # fmt: skip
        return render(request, "ceremonies/script_list.html", context)


class ScriptDetail(ActorRequiredMixin, View):
    required_permission = Permission.CEREMONY_VIEW

    def get(self, request: HttpRequest, label: str) -> HttpResponse:
        script = scripts.find_script(label)
        context = {
            "title": script.title,
            "subtitle": f"{script.name}, version {script.version}",
            "script": script,
            "commit_step": script.commit_step,
        }
        return render(request, "ceremonies/script_detail.html", context)


class ScriptUpload(ActorRequiredMixin, View):
    required_permission = Permission.CEREMONY_MANAGE

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, ScriptForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = ScriptForm(request.POST)
        if form.is_valid():
            form.run(lambda values: scripts.upload_script(actor=actor_of(request), **values))
        return self._page(request, form, 422)

    def _page(self, request: HttpRequest, form: ScriptForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Upload a script", "form": form, "submit_label": "Ask for agreement", "cancel_url": "/ceremonies/scripts/",
            "intro": "Begin with a copy of a script of the portal. It can be held once two officers have agreed to its very hash.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)
