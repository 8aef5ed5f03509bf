"""cert-manager manifests: the reference's own, and every one against the published fields."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from certificates.tls.manifests import Manifest, render
from keyvault_portal.errors import ValidationFailed


def strict(schema: Any) -> Any:
    """The schema with unknown fields refused, as `kubectl apply --validate=strict` does: the published one lets them be pruned."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(value) for name, value in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


SCHEMAS = {
    kind: strict(schema)
    for kind, schema in json.loads((Path(__file__).parents[1] / "vectors" / "cert_manager_v1.json").read_text())[
        "kinds"
    ].items()
}
# The reference document's manifests.
SEED = """
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata:
  name: letsencrypt-prod
spec:
  acme:
    server: https://acme-v02.api.letsencrypt.org/directory
    email: certs@example.com
    privateKeySecretRef:
      name: letsencrypt-prod-account
    solvers:
      - http01:
          ingress:
            class: nginx
      - dns01:
          cloudDNS:
            project: my-gcp-project
            serviceAccountSecretRef:
              name: clouddns-sa
              key: key.json
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: example-com
  namespace: production
spec:
  secretName: example-com-tls
  issuerRef:
    name: letsencrypt-prod
    kind: ClusterIssuer
  dnsNames:
    - example.com
    - "*.example.com"
  duration: 2160h      # 90 days
  renewBefore: 720h    # Renew 30 days before expiry
  privateKey:
    algorithm: ECDSA
    size: 256
"""
WANTED: dict[str, Any] = {
    "issuer": "letsencrypt-prod", "name": "example-com", "namespace": "production", "names": ("example.com", "*.example.com"),
    "email": "certs@example.com", "dns_project": "my-gcp-project",
}  # fmt: skip


def objects(asked: Manifest) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(render(asked)))


def test_the_references_manifests_are_reproduced():
    assert objects(Manifest(**WANTED)) == list(yaml.safe_load_all(SEED))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"directory": "https://keys.example.org/acme/directory", "authority_bundle": "QUJD", "email": ""},
        {"algorithm": "Ed25519", "size": 0},
        {"algorithm": "RSA", "size": 4096, "ingress_class": ""},
        {"names": ("example.com",), "dns_project": ""},
    ],
)
def test_manifests_have_the_published_form(more):
    for found in objects(Manifest(**WANTED | more)):
        jsonschema.validate(found, SCHEMAS[found["kind"]])


def test_the_published_form_can_be_missed():
    issuer, certificate = objects(Manifest(**WANTED))
    del issuer["spec"]["acme"]["privateKeySecretRef"]
    certificate["spec"]["dnsName"] = "example.com"
    for found in (issuer, certificate):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(found, SCHEMAS[found["kind"]])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"names": ("*.example.com",), "dns_project": ""}, "names"),
        ({"names": ("a b",)}, "names"),
        ({"names": ()}, "names"),
        ({"issuer": "Bad Name"}, "issuer"),
        ({"name": ""}, "name"),
        ({"namespace": "a.b"}, "namespace"),
        ({"directory": "http://acme.example/directory"}, "directory"),
        ({"directory": "https://acme.example/\nevil: 1"}, "directory"),
        ({"email": "no"}, "email"),
        ({"authority_bundle": "not base64!"}, "authority_bundle"),
        ({"dns_project": "X"}, "dns_project"),
        ({"ingress_class": "", "dns_project": "", "names": ("a.example",)}, "ingress_class"),
        ({"renew_before_hours": 2160}, "renew_before_hours"),
        ({"duration_hours": 0}, "duration_hours"),
        ({"algorithm": "RSA", "size": 1024}, "size"),
        ({"algorithm": "DSA", "size": 1024}, "size"),
    ],
)
def test_what_cannot_work_is_refused(more, field):
    with pytest.raises(ValidationFailed) as caught:
        Manifest(**WANTED | more)
    assert field in caught.value.errors
