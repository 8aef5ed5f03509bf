"""The parser of the REST API: JSON of a sane size."""

from collections.abc import Mapping
from typing import Any

from rest_framework.parsers import JSONParser

from keyvault_portal.errors import TooLarge

MAX_BODY = 1_000_000  # bytes; what governs keys is small, the data plane has a limit of its own


class BoundedJSONParser(JSONParser):
    """Refuses a body by its length before it reads it; a body without one is empty to the server."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        length = (parser_context or {})["request"].META.get("CONTENT_LENGTH") or "0"
        if int(length) > MAX_BODY:
            raise TooLarge(f"The body has {int(length):,} bytes; at most {MAX_BODY:,} are read.")
        return super().parse(stream, media_type, parser_context)
