from django.apps import AppConfig


class PortalConfig(AppConfig):
    """Wiring: commands, template tags, and the Celery application every process shares."""

    name = "keyvault_portal"
    label = "portal"
    verbose_name = "KeyVault Portal"

    def ready(self) -> None:
        from keyvault_portal import celery  # noqa: F401  shared tasks bind to this application
