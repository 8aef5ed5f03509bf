"""Pure cryptography: no Django, no Celery, no database."""
