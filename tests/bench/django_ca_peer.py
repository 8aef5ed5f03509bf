"""django-ca as the benchmark of certificates meets it: a program for its own Python, asked by lines of JSON.

`{"do": "issue", "requests": [PEM, ...], "seconds": 2, "callers": 1}` is answered with how many of them so many
threads issued and in how long; it signs by its own manager, one row and one commit a certificate. `{"do": "ask"}` is answered
with the path of its responder and a question about the newest certificate; `served` is django-ca for a server, which answers
that question over HTTP.
"""

import json
import os
import sys
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from types import ModuleType

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.urls import include, path


def configure(database: str, folder: str) -> None:
    name, host, port, user, password = json.loads(database)
    plain = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": folder}}
    settings.configure(
        SECRET_KEY="benchmark", USE_TZ=True, ROOT_URLCONF="peer_urls", ALLOWED_HOSTS=["127.0.0.1"], DEBUG=False,
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": name, "HOST": host, "PORT": port, "USER": user, "PASSWORD": password}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_ca"], CA_DEFAULT_HOSTNAME="ca.example.org",
        STORAGES={"default": plain, "django-ca": plain, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
        CA_USE_CELERY=False,
    )  # fmt: skip
    django.setup()
    sys.modules["peer_urls"] = urls = ModuleType("peer_urls")
    urls.urlpatterns = [path("", include("django_ca.urls"))]


def served() -> WSGIHandler:
    """The WSGI program over the database and the folder that the environment names."""
    configure(os.environ["PEER_DATABASE"], os.environ["PEER_FOLDER"])
    return WSGIHandler()


def main(database: str, folder: str) -> None:
    configure(database, folder)
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import ocsp
    from cryptography.x509.oid import NameOID
    from django.core.management import call_command
    from django.urls import reverse
    from django_ca.key_backends import key_backends
    from django_ca.key_backends.storages.models import StoragesCreatePrivateKeyOptions, StoragesUsePrivateKeyOptions
    from django_ca.models import Certificate, CertificateAuthority

    call_command("migrate", verbosity=0)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Benchmark")])
    made = StoragesCreatePrivateKeyOptions(key_type="EC", password=None, path=".")
    authority = CertificateAuthority.objects.init(
        "benchmark", key_backends["default"], made, subject, datetime.now(UTC) + timedelta(days=3000), key_type="EC"
    )
    use = StoragesUsePrivateKeyOptions.model_validate({}, context={"ca": authority, "backend": key_backends["default"]})
    authority.generate_ocsp_key(use)
    authority.refresh_from_db()
    leaf_subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "h.example.org")])

    def issue(raw: str) -> Certificate:
        request = x509.load_pem_x509_csr(raw.encode())
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return Certificate.objects.create_cert(authority, use, request, subject=leaf_subject, extensions=[names])

    pool = cache(ThreadPoolExecutor)  # as in a server that is up for a while, its threads keep their connections

    def issue_part(part: tuple[list[str], float]) -> int:
        requests, end = part
        for done, raw in enumerate(requests, 1):
            issue(raw)
            if time.perf_counter() > end:
                return done
        return len(requests)

    url = reverse("django_ca:ocsp-cert-post", kwargs={"serial": authority.serial})

    def ask() -> dict[str, str]:
        leaf = Certificate.objects.order_by("-pk")[0]
        builder = ocsp.OCSPRequestBuilder().add_certificate(leaf.pub.loaded, authority.pub.loaded, hashes.SHA256())
        return {"path": url, "question": b64encode(builder.build().public_bytes(Encoding.DER)).decode()}

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "ask":
            print(json.dumps(ask()), flush=True)
            continue
        begun, callers = time.perf_counter(), asked["callers"]
        parts = [(asked["requests"][start::callers], begun + asked["seconds"]) for start in range(callers)]
        done = sum(pool(callers).map(issue_part, parts))
        print(json.dumps({"done": done, "seconds": time.perf_counter() - begun}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
