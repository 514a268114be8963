"""What an embedder reads of a text: valid Unicode of bounded length, whatever a client sent."""

from __future__ import annotations

# Characters from each end. 256 tokens are about 1,000 characters; the rest is for text that tokenises to little.
END_CHARACTERS = 4000


def readable(text: str) -> str:
    """The text, of a long one both ends with a line break for the middle; `?` for a surrogate without its pair."""
    if len(text) > 2 * END_CHARACTERS:
        text = f"{text[:END_CHARACTERS]}\n{text[-END_CHARACTERS:]}"
    return text.encode("utf-8", "replace").decode("utf-8")
