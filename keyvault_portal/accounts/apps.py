from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "keyvault_portal.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keyvault_portal.accounts import signals  # noqa: F401  receivers connect when imported
