from django.apps import AppConfig


class CertificatesConfig(AppConfig):
    name = "certificates"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from certificates import approval_operations, held_acts, tasks  # noqa: F401  registers operations, acts and tasks
        from certificates.acme import tasks as _acme_tasks  # noqa: F401
        from certificates.renewal import approval_operations as _renewal  # noqa: F401
        from certificates.renewal import tasks as _renewal_tasks  # noqa: F401
        from certificates.renewal.attention import attention
        from certificates.rollover import approval_operations as _rollover  # noqa: F401
        from certificates.services.reading import signing_chain
        from certificates.services.signers import purpose_of
        from certificates.services.standing import standing_on
        from keys.services.dependents import depend_through
        from keys.services.key_certificates import find_through
        from keys.services.overview import attend_through
        from keys.services.reservations import reserve_through

        reserve_through(purpose_of)
        find_through(signing_chain)
        depend_through(standing_on)
        attend_through(attention)
