"""Keys on their way in and out, in the background; messages carry ids, never material."""

import logging
from uuid import UUID

from celery import shared_task

from keys.services import exports, imports
from keyvault_portal.errors import PortalError, ProviderUnavailable, Sealed

logger = logging.getLogger(__name__)


@shared_task(name="keys.import_work")
def import_work(import_id: str) -> None:
    """Open, check and bring what has arrived; a sealed portal and an absent provider are waited for by the tick."""
    try:
        imports.finish_import(UUID(import_id))
    except (Sealed, ProviderUnavailable) as error:
        logger.warning("import %s waits: %s", import_id, error.code)


@shared_task(name="keys.component_work")
def component_work(component_id: int) -> None:
    """Open and compare a component that a custodian handed in; a sealed portal is waited for by the tick."""
    try:
        imports.compare_component(component_id)
    except Sealed as error:
        logger.warning("component %s waits: %s", component_id, error.code)


@shared_task(name="keys.offer_back")
def offer_back(import_id: str) -> None:
    """Give a provider's offer back that nobody used; what fails is tried again by the tick."""
    try:
        imports.give_offer_back(UUID(import_id))
    except PortalError as error:
        logger.warning("the offer of import %s could not be given back: %s", import_id, error.code)


@shared_task(name="keys.export_work")
def export_work(export_id: str) -> None:
    """Wrap a key for whom it was agreed to give it to; what fails is written into the export."""
    try:
        exports.wrap_export(UUID(export_id))
    except Sealed:
        logger.warning("export %s waits: the portal is sealed", export_id)


@shared_task(name="keys.transfer_tick")
def transfer_tick() -> None:
    """Send what no worker got, end what has expired."""
    imports.tick_imports()
    exports.tick_exports()
