"""The online path: gateway, engines, tenancy, telemetry."""
