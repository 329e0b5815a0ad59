"""What things are: chips, processes, language models and adapters, and their closed forms."""

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel

__all__ = ["Adapter", "Chip", "InputError", "LanguageModel"]
