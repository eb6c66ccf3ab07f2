"""How large a file a visitor may send, wherever it comes in."""

from typing import Final

LARGEST_FILE_MB: Final = 25
"""Million bytes: an upload, an address that is fetched, a data URL, an image of a batch, a video."""
LARGEST_FILE: Final = LARGEST_FILE_MB * 1_000_000
LARGEST_AS_BASE64: Final = LARGEST_FILE * 7 // 5
"""Characters: base64 needs four for three bytes; and room for line ends."""
