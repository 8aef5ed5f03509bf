from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "keyvault_portal.approvals"
    label = "approvals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keyvault_portal.accounts.services import register_gate
        from keyvault_portal.approvals.evidence import evidence_lines
        from keyvault_portal.approvals.operations import deciders_gate
        from keyvault_portal.audit.evidence.registry import register_evidence

        register_gate(deciders_gate)
        register_evidence("approvals.jsonl", evidence_lines)
