"""How a router model is trained, calibrated and judged. Needs the `router` extra; nothing here runs in a gateway."""
