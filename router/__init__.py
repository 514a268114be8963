"""Which tier, in what order: pure decisions. Knows nothing of HTTP, Ray or engines."""
