"""Which scripts can be held: those in the tree, and the organisation's own once others agreed to them."""

from functools import cache
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from ceremonies.models import ScriptTemplate
from ceremonies.room_errors import ScriptRefused
from ceremonies.script import Kind, Script, ScriptError, in_tree, parse
from ceremonies.services import subjects
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.quorum import Group
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ApprovalRequired, Conflict, NotFound

APPROVE_SCRIPT = "ceremony.approve_script"


@cache
def tree_scripts() -> dict[str, Script]:
    """The scripts that come with the portal, by name; read once a process."""
    return in_tree()


def usable_scripts(kind: Kind | None = None) -> dict[str, Script]:
    """What can be planned now, by "name:version"; the latest of the portal's own and every approved upload."""
    found = {f"{script.name}:{script.version}": script for script in tree_scripts().values()}
    for row in ScriptTemplate.objects.filter(approved_at__isnull=False):
        found[f"{row.name}:{row.version}"] = parse(row.text)
    return {label: script for label, script in found.items() if kind is None or script.kind is kind}


def find_script(label: str) -> Script:
    """The usable script `name:version`; raises NotFound."""
    found = usable_scripts().get(label)
    if found is None:
        raise NotFound("There is no such script, or nobody has agreed to it yet.")
    return found


def read_script(text: str) -> Script:
    """Read an uploaded text; raises ScriptRefused with everything that is wrong."""
    try:
        return parse(text)
    except ScriptError as error:
        raise ScriptRefused("The script cannot be held as it is.", errors={"text": error.problems}) from None


def upload_script(*, actor: Actor, text: str, reason: str) -> ScriptTemplate:
    """Keep an own script and ask others to agree to its hash; raises ScriptRefused, Conflict, ApprovalRequired."""
    with audit.atomic(actor=actor, action="ceremony.upload_script", target=("script", "", "")) as record:
        authorize(actor, Permission.CEREMONY_MANAGE, target="ceremony scripts")
        script = read_script(text)
        subjects.check_acts([step.act for step in script.steps if step.act])
        record.about(target=("script", script.sha256, f"{script.name} {script.version}"))
        if script.name in tree_scripts():
            raise Conflict("A script of the portal has this name.", hint="Choose another name.")
        try:
            with transaction.atomic():
                row = ScriptTemplate.objects.create(
                    name=script.name, version=script.version, kind=script.kind.value, title=script.title, text=text, sha256=script.sha256,
                    uploaded_by=actor.label[:200],
                )  # fmt: skip
        except IntegrityError:
            raise Conflict("This version of the script exists already.", hint="Raise the version.") from None
        record.record({"sha256": script.sha256, "kind": script.kind.value, "version": script.version})
        request = approvals.require_or_request(
            actor, APPROVE_SCRIPT, {"script_id": str(row.pk)}, groups=officers_besides(actor), reason=reason
        )
        raise ApprovalRequired(request.pk, "The script waits for agreement.")


def approve_script(*, actor: Actor, script_id: UUID, approval_id: UUID) -> ScriptTemplate:
    """Let an uploaded script be used; called by the executor of the approval only."""
    with audit.atomic(actor=actor, action="ceremony.approve_script", target=("script", script_id, "")) as record:
        authorize(actor, Permission.CEREMONY_MANAGE, target="ceremony scripts")
        row = ScriptTemplate.objects.select_for_update().filter(pk=script_id).first()
        if row is None:
            raise NotFound("There is no such script.")
        if not approvals.is_executing(approval_id, APPROVE_SCRIPT, {"script_id": str(script_id)}):
            raise Conflict("Nobody agreed to this.")
        row.approved_at, row.approval_id = timezone.now(), approval_id
        row.save(update_fields=["approved_at", "approval_id"])
        record.record({"sha256": row.sha256}, target=("script", row.pk, str(row)))
    return row


def officers_besides(actor: Actor, ring_id: UUID | None = None) -> list[dict[str, object]]:
    """The group that agrees: two officers besides the one who asks, or as many as there are, at least one."""
    return [Group(Role.SECURITY_OFFICER.value, max(1, approvals.officers_needed(actor, ring_id)), ring_id).as_dict()]


def known_person(email: str) -> Person | None:
    """The active person of the portal with this address, if there is one."""
    return Person.objects.filter(email__iexact=email.strip(), is_active=True, kind=Person.Kind.PERSON).first()
