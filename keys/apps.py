from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "keys"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keys import lifecycle_tasks, move_tasks, provider_tasks, seal_tasks, transfer_tasks  # noqa: F401  registers their tasks
        from keys.approval_operations import exports, lifecycle, moving, rotation, seals, stores  # noqa: F401  registers their operations
        from keys.providers import registry
        from keys.services.evidence import census_pieces
        from keys.services.exports.evidence import export_pieces
        from keys.services.providers.source import Registered
        from keyvault_portal.audit.evidence.registry import register_evidence

        register_evidence("census.json", census_pieces)
        register_evidence("key_exports.json", export_pieces)
        registry.use_source(Registered())
