"""HTTP: routes, wire shapes, SSE and the error envelope. The only place that knows HTTP."""
