from django.apps import AppConfig


class CeremoniesConfig(AppConfig):
    name = "ceremonies"
    default_auto_field = "django.db.models.BigAutoField"
