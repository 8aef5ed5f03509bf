from django.apps import AppConfig


class CertificatesConfig(AppConfig):
    name = "certificates"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from certificates import approval_operations, held_acts, tasks  # noqa: F401  registers operations, acts and tasks
        from certificates.services.reading import signing_chain
        from certificates.services.signers import purpose_of
        from keys.services.key_certificates import find_through
        from keys.services.reservations import reserve_through

        reserve_through(purpose_of)
        find_through(signing_chain)
