"""Tables of the ceremonies app; rows are written by `ceremonies.services` only."""

from ceremonies.models.ceremonies import Ceremony, DeviationNote, Participant, SignOff
from ceremonies.models.custody import CustodyEntry, SealCustodian, Share, ShareGeneration
from ceremonies.models.minutes import Minutes
from ceremonies.models.scripts import ScriptTemplate

__all__ = [
    "Ceremony", "CustodyEntry", "DeviationNote", "Minutes", "Participant", "ScriptTemplate", "SealCustodian", "Share", "ShareGeneration",
    "SignOff",
]  # fmt: skip
