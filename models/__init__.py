"""Ground floor: what can be served, and the words everybody uses. Imports nothing from the floors above."""
