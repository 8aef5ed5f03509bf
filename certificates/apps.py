from django.apps import AppConfig


class CertificatesConfig(AppConfig):
    name = "certificates"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from certificates import approval_operations, tasks  # noqa: F401  registers operations and tasks
        from certificates.acme import tasks as acme_tasks  # noqa: F401
        from certificates.services.signers import purpose_of
        from keys.services.reservations import reserve_through

        reserve_through(purpose_of)
