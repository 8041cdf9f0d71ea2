"""The forms of text that the API asks for, known to its client too."""

import re

DECIMAL_TEXT = re.compile(r"-?[0-9]{1,255}(\.[0-9]{1,255})?")
IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")
