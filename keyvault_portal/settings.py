"""All settings, from environment variables (12-factor); the embedded services fill in what is not given.

Nothing here has a usable production default: `keyvault_portal.checks` refuses to start one with a missing, default or
world-readable secret.
"""

import os
from datetime import timedelta
from pathlib import Path

import dj_database_url

from keyvault_portal import embedded, environment, logs

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = embedded.installation_root()


# Embedded mode: no database of the user's own is named, so quickstart and tests bring one.
EMBEDDED = "DATABASE_URL" not in os.environ
try:
    _embedded = embedded.ensure_config(VAR_DIR) if EMBEDDED else None
except embedded.EmbeddedError as error:
    raise SystemExit(str(error)) from None
PRODUCTION = environment.flag("PORTAL_PRODUCTION", not EMBEDDED)
DEBUG = environment.flag("DEBUG", False)
# A proxy of ours stands in front and writes X-Forwarded-For and -Proto.
TRUST_PROXY = environment.flag("TRUST_PROXY", False)

SECRET_KEY = os.environ.get("SECRET_KEY") or (_embedded.secret_key if _embedded else "insecure-before-first-start")
TOKEN_PEPPER = os.environ.get("TOKEN_PEPPER") or (_embedded.token_pepper if _embedded else SECRET_KEY)
ALLOWED_HOSTS = environment.listed("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
PORTAL_ORIGIN = environment.origin("PORTAL_ORIGIN", f"http://localhost:{_embedded.web_port if _embedded else 8000}")
# What certificates say about where their CRL and OCSP responder are: without TLS, or checking them would need them.
PKI_ORIGIN = environment.origin("PKI_ORIGIN", PORTAL_ORIGIN.replace("https://", "http://", 1)).rstrip("/")
CSRF_TRUSTED_ORIGINS = environment.origins("CSRF_TRUSTED_ORIGINS", PORTAL_ORIGIN)

DATABASE_URL = environment.database_url("DATABASE_URL") or (
    _embedded.database_url() if _embedded else "postgresql://keyvault@127.0.0.1:5432/keyvault"
)
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=600, conn_health_checks=True)}
DATABASES["default"].setdefault("OPTIONS", {})["application_name"] = "keyvault-portal"
# Statements that are written below Django's cursor (the record, the data plane, certificates) are planned once a connection.
DATABASES["default"]["OPTIONS"].setdefault("prepare_threshold", 5)
BROKER_URL = environment.broker_url("CELERY_BROKER_URL") or (
    _embedded.broker_url() if _embedded else "redis://127.0.0.1:6379/0"
)
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": BROKER_URL, "KEY_PREFIX": "kvp"}
}

# Key files of the embedded default; mode 0600, checked at start.
ROOT_KEY_FILE = environment.path("PORTAL_ROOT_KEY_FILE", VAR_DIR / "root.key")
# Where the keyholder listens; without it each process reads the root key file by itself (tests, single commands).
KEYHOLDER_USERS = environment.users("PORTAL_KEYHOLDER_USERS")  # numbers of other system users who may ask it
KEYHOLDER_SOCKET = environment.socket_path("PORTAL_KEYHOLDER_SOCKET")
# Where the ceremony process listens, and how long it keeps a ceremony's secrets without a sign of life, and in all.
CEREMONY_SOCKET = environment.socket_path("PORTAL_CEREMONY_SOCKET")
CEREMONY_IDLE_SECONDS = environment.whole("PORTAL_CEREMONY_IDLE_SECONDS", 900)
CEREMONY_LIFE_SECONDS = environment.whole("PORTAL_CEREMONY_LIFE_SECONDS", 28800)
AUDIT_KEY_FILE = environment.path("PORTAL_AUDIT_KEY_FILE", VAR_DIR / "audit-signing.key")
AUDIT_ORIGIN = environment.line("PORTAL_AUDIT_ORIGIN", "keyvault-portal")
# Operations (such as ceremony.open; * for all) to which people agree with a signature of their own, whatever the policy of the key.
APPROVALS_SIGNED = environment.listed("APPROVALS_SIGNED")
AUDIT_GROUP_COMMIT = True
AUDIT_DEADLINE = 10.0  # seconds an act waits for its record before it is refused

INSTALLED_APPS = [
    "keyvault_portal",
    "keyvault_portal.accounts",
    "keyvault_portal.audit",
    "keyvault_portal.approvals",
    "keys",
    "ceremonies",
    "certificates",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django_htmx",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "certificates.renewal.http01.AnswerChallenges",  # first: asked without TLS and under other names than ours
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "ceremonies.quiet.QuietRoom",  # before the session: most polls of a room need none
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "keyvault_portal.accounts.middleware.RequireSecondFactor",
    "keyvault_portal.edges.PortalErrorMiddleware",
    "keys.sealed.SealedMiddleware",
    "keyvault_portal.bodies.LengthRequired",
    "keyvault_portal.idempotency.IdempotencyMiddleware",
]

ROOT_URLCONF = "keyvault_portal.urls"
WSGI_APPLICATION = "keyvault_portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "keyvault_portal.context_processors.portal",
            ]
        },
    }
]

AUTH_USER_MODEL = "accounts.Person"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_REDIRECT_URL = "/"
LOGIN_URL = "account_login"
CSRF_FAILURE_VIEW = "keyvault_portal.edges.csrf_failure"
ACCOUNT_ADAPTER = "keyvault_portal.accounts.adapters.AccountAdapter"
MFA_ADAPTER = "keyvault_portal.accounts.adapters.MfaAdapter"
# Nobody signs up by themselves, so an address that is not confirmed threatens nobody's second factor.
MFA_ALLOW_UNVERIFIED_EMAIL = True
ACCOUNT_RATE_LIMITS = {"login": "30/m/ip", "login_failed": "10/m/ip,5/5m/key", "reset_password": "20/m/ip,5/m/key"}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = EMBEDDED
MFA_TOTP_ISSUER = "KeyVault Portal"
USERSESSIONS_TRACK_ACTIVITY = True
SESSION_COOKIE_AGE = int(timedelta(hours=10).total_seconds())
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

_tls = PORTAL_ORIGIN.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _tls
SECURE_HSTS_SECONDS = 63_072_000 if _tls else 0
# Whether other names below the domain speak TLS, and whether browsers are told beforehand, is for the domain's owner to say.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^pki/"]  # asked by the machine itself; by relying parties, without TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUST_PROXY else None
SECURE_CSP = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "frame-ancestors": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "object-src": ["'none'"],
}
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 12 * 2**20

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = VAR_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = EMBEDDED

MAILERS: dict[str, dict[str, object]] = {
    "default": {
        "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "OPTIONS": {
            "host": environment.line("EMAIL_HOST"),
            "port": environment.whole("EMAIL_PORT", 587, most=65535),
            "username": os.environ.get("EMAIL_HOST_USER", ""),
            "password": os.environ.get("EMAIL_HOST_PASSWORD", ""),
            "use_tls": environment.flag("EMAIL_USE_TLS", True),
            "timeout": 20,
        },
    }
    if os.environ.get("EMAIL_HOST")
    else {
        "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
        "OPTIONS": {"file_path": str(VAR_DIR / "mail")},
    }
}
DEFAULT_FROM_EMAIL = environment.line("DEFAULT_FROM_EMAIL", "keyvault-portal@localhost")

CELERY_BROKER_URL = BROKER_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A broker that takes connections and says nothing is not waited for longer than this.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "socket_timeout": 5, "socket_connect_timeout": 5}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# One beat; each tick is a cheap query when nothing is due.
CELERY_BEAT_SCHEDULE: dict[str, dict[str, object]] = {
    "jobs nobody works on": {"task": "keys.sweep", "schedule": 5.0, "options": {"expires": 5}},
    "rotations and censuses by policy": {"task": "keys.tick", "schedule": 30.0, "options": {"expires": 30}},
    "key lifecycle": {"task": "keys.lifecycle_tick", "schedule": 60.0, "options": {"expires": 60}},
    "key providers": {"task": "keys.provider_tick", "schedule": 5.0, "options": {"expires": 5}},
    "certificates": {"task": "certificates.tick", "schedule": 60.0, "options": {"expires": 60}},
    "renewals": {"task": "certificates.renewal_tick", "schedule": 30.0, "options": {"expires": 30}},
    "ACME": {"task": "certificates.acme_tick", "schedule": 10.0, "options": {"expires": 10}},
    "custody register": {"task": "ceremonies.tick", "schedule": 3600.0, "options": {"expires": 3600}},
    "moves of keys": {"task": "keys.move_tick", "schedule": 5.0, "options": {"expires": 5}},
    "keys on their way in and out": {"task": "keys.transfer_tick", "schedule": 10.0, "options": {"expires": 10}},
    "seals of the root": {"task": "keys.seal_tick", "schedule": 10.0, "options": {"expires": 10}},
    "approvals": {"task": "approvals.tick", "schedule": 30.0, "options": {"expires": 30}},
}
REENCRYPTION_LEASE_SECONDS = environment.seconds("REENCRYPTION_LEASE_SECONDS", 15)
REENCRYPTION_WORKERS = environment.whole("REENCRYPTION_WORKERS", 2)
# Calls a second that background work may make of a provider, by alias, over all workers; what is not named here is in
# keys.providers.quotas, and the portal's own keys cost nothing.
PROVIDER_BUDGETS: dict[str, int] = {}
# How long one call of a provider may take on the wire, and how long a caller of the data plane waits for all its tries.
PROVIDER_TIMEOUT_SECONDS = environment.seconds("PROVIDER_TIMEOUT_SECONDS", 5)
PROVIDER_DEADLINE_SECONDS = environment.seconds("PROVIDER_DEADLINE_SECONDS", 10)
PROVIDER_LEASE_SECONDS = environment.seconds("PROVIDER_LEASE_SECONDS", 60)
# How long, for how many messages and for how many bytes one data key may serve envelopes of one encryption context, where a
# provider would be called for each; 0 seconds keeps none.
DATA_KEY_CACHE_SECONDS = environment.whole("DATA_KEY_CACHE_SECONDS", 300, least=0)
DATA_KEY_CACHE_MESSAGES = environment.whole("DATA_KEY_CACHE_MESSAGES", 100000)
DATA_KEY_CACHE_BYTES = environment.whole("DATA_KEY_CACHE_BYTES", 2**30)
# The only PKCS#11 libraries that are ever loaded, and the environment variables that such a library reads.
PKCS11_MODULES = environment.listed("PKCS11_MODULES")
PKCS11_ENVIRONMENT = environment.listed(
    "PKCS11_ENVIRONMENT", "SOFTHSM2_CONF,ChrystokiConfigurationPath,CS_PKCS11_R2_CFG"
)
# Where data stores may be: networks and names. Link-local addresses (cloud metadata) never are.
STORE_ALLOWED_HOSTS = environment.hosts(
    "STORE_ALLOWED_HOSTS", "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
)
# Who time-stamps the minutes of ceremonies (RFC 3161); its host has to be among STORE_ALLOWED_HOSTS. Empty: nobody.
MINUTES_TSA_URL = environment.web_address("MINUTES_TSA_URL")
# OCSP answers that are signed because one address asks, with a nonce or about several certificates; kept ones have no limit.
OCSP_SIGNATURES_A_MINUTE = environment.whole("OCSP_SIGNATURES_A_MINUTE", 60, least=0)
# Beside what security officers allow in the portal; this machine is scanned only if its network stands here.
TLS_SCAN_ALLOWED_HOSTS = environment.hosts("TLS_SCAN_ALLOWED_HOSTS")
# ACME CAs that certificates may come from, and where webhooks and DNS servers for dns-01 may be.
ACME_ALLOWED_HOSTS = environment.hosts(
    "ACME_ALLOWED_HOSTS",
    "acme-v02.api.letsencrypt.org,acme-staging-v02.api.letsencrypt.org,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
)
WEBHOOK_ALLOWED_HOSTS = environment.hosts("WEBHOOK_ALLOWED_HOSTS", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7")
# Directories of this machine below which certificates, and keys where others agreed, are written; none by default.
CERTIFICATE_DEPLOY_DIRS = environment.listed("CERTIFICATE_DEPLOY_DIRS")
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "celerybeat-schedule")
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["keyvault_portal.bodies.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "keyvault_portal.accounts.api_auth.TokenAuthentication",
        "keyvault_portal.accounts.api_auth.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["keyvault_portal.accounts.api_auth.HasPermission"],
    "DEFAULT_PAGINATION_CLASS": "keyvault_portal.paging.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["keyvault_portal.filtering.DeclaredFilterBackend"],
    "URL_FORMAT_OVERRIDE": None,  # answers have one format, and a list may have a filter of that name
    "EXCEPTION_HANDLER": "keyvault_portal.edges.problem_response",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "KeyVault Portal API",
    "DESCRIPTION": (
        "Key lifecycle governance: hierarchy, rotation, approvals, census and proof.\n\n"
        "A write may carry the header `Idempotency-Key`, 1 to 255 characters: repeated within a day by the same token or "
        "person, it gets the first answer and acts once. An answer with plaintext, a data key, a token or another secret is "
        "not kept, and its repeat gets 409. A caller who has lost any right since the first answer gets 403 with the code "
        "`answer_withheld` in its place, and nothing is done. A list refuses a query name or a value that it does not know with 422."
    ),
    "VERSION": "1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "keys.dataplane.schema.add_data_plane"],
    "ENUM_NAME_OVERRIDES": {
        "KeyKindEnum": "keys.models.keys.KEY_KINDS",
        "PersonKindEnum": "keyvault_portal.accounts.models.Person.Kind",
        "FindingToneEnum": "keys.advisor.rules.TONES",
        "FindingKindEnum": "keys.models.providers.ProviderFinding.Kind",
        "StoreKindEnum": "keys.models.stores.DataStore.Kind",
        "RevocationReasonEnum": "certificates.models.certificates.REASONS",
        "DnsHookKindEnum": "certificates.models.renewal.DnsHook.Kind",
        "DeployHookKindEnum": "certificates.models.renewal.DeployHook.Kind",
        "ProvedNameKindEnum": "certificates.renewal.serializers.PROVED_KINDS",
        "SubjectKeyAlgorithmEnum": "certificates.serializers.SUBJECT_KEY_CHOICES",
        "LeafRevocationReasonEnum": "certificates.serializers.REVOCATION_REASONS",
        "LeafProfileEnum": "certificates.serializers.PROFILE_CHOICES",
        "AcmeProfileEnum": "certificates.acme.serializers.PROFILE_CHOICES",
        "CeremonyStateEnum": "ceremonies.models.ceremonies.CEREMONY_STATES",
        "ShareStateEnum": "ceremonies.models.custody.SHARE_STATES",
        "CeremonyKindEnum": "ceremonies.models.scripts.KINDS",
        "RoomRoleEnum": "ceremonies.models.ceremonies.ROOM_ROLES",
        "RoleEnum": "keyvault_portal.accounts.permissions.Role",
        "ImportMethodEnum": "keys.models.transfers.KeyImport.Method",
        "ExportMethodEnum": "keys.models.transfers.KeyExport.Method",
        "ApprovalStateEnum": "keyvault_portal.approvals.states.RequestState",
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": logs.FORMATTER},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": environment.choice("LOG_LEVEL", "INFO", logs.LEVELS)},
    "loggers": {
        # A trace for each visitor by a wrong name helps nobody; the access log has the 400.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # Azure's libraries tell every request with its headers, and every token asked for.
        "azure": {"level": "WARNING"},
        # Google's client can be made to tell whole requests, plaintext and all; not here.
        "google": {"level": "WARNING"},
        "google.cloud.kms_v1": {"level": "WARNING"},
    },
}
