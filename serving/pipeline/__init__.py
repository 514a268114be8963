"""The story of one request and its steps, one file each. Steps do not import each other."""
