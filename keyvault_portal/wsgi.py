"""WSGI entry point for granian or any other WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

from certificates.fast_ocsp import in_front_of
from keyvault_portal.checks import refuse_to_start

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")

application = in_front_of(get_wsgi_application())
refuse_to_start()
