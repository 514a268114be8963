"""Examples: what a training file holds, how it is checked, encoded and made."""
