"""What things are: chips, processes, language models and adapters, and their closed forms."""

from models.adapter.adapter import Adapter
from models.chip import Chip
from models.errors import InputError
from models.language_model import LanguageModel

__all__ = ["Adapter", "Chip", "InputError", "LanguageModel"]
