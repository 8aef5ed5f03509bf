from django.apps import AppConfig


class CeremoniesConfig(AppConfig):
    name = "ceremonies"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from ceremonies import approval_operations  # noqa: F401  registers its operations
