from django.apps import AppConfig


class CeremoniesConfig(AppConfig):
    name = "ceremonies"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from ceremonies import approval_operations  # noqa: F401  registers its operations
        from ceremonies.services.minutes import purpose_of
        from keys.services.reservations import reserve_through

        reserve_through(purpose_of)
