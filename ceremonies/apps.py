from django.apps import AppConfig


class CeremoniesConfig(AppConfig):
    name = "ceremonies"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from ceremonies import approval_operations  # noqa: F401  registers its operations
        from ceremonies.services import addresses
        from ceremonies.services.minutes import purpose_of
        from keys.services.reservations import reserve_through
        from keyvault_portal.accounts.services import on_address_changed

        on_address_changed(addresses.follow)
        reserve_through(purpose_of)
