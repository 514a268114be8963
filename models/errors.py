"""The base of every error that a caller may meet; `serving/api/errors.py` gives each code its HTTP status.

PenstockError
├── InvalidRequest          the caller's input; `param` names the field
├── NotFound / PermissionDenied / InvalidKey
├── RateLimited             try again after `retry_after_s`
├── Unavailable             the stack cannot serve now; try again after `retry_after_s`
├── UpstreamError           an engine failed in a way the caller is told about
└── ConfigurationError      refused at load; never reaches a caller over HTTP
"""

from __future__ import annotations


class PenstockError(Exception):
    """An error that is an answer: `public` goes to the caller, `detail` to the log only."""

    default_code = "internal_error"

    def __init__(
        self,
        public: str,
        *,
        code: str | None = None,
        param: str | None = None,
        detail: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(public if detail is None else f"{public} ({detail})")
        self.public = public
        self.code = code or self.default_code
        self.param = param
        self.detail = detail
        self.retry_after_s = retry_after_s


class InvalidRequest(PenstockError):
    """The request as sent cannot be served; sending it again unchanged cannot help."""

    default_code = "invalid_value"


class InvalidKey(PenstockError):
    """No usable credential came with the request."""

    default_code = "invalid_api_key"


class PermissionDenied(PenstockError):
    """The key is good, its role is not enough."""

    default_code = "insufficient_permissions"


class NotFound(PenstockError):
    """What was named does not exist for this caller; another tenant's thing answers the same."""

    default_code = "not_found"


class RateLimited(PenstockError):
    """A limit of the key is reached."""

    default_code = "rate_limit_exceeded"


class Unavailable(PenstockError):
    """The stack cannot take this request now."""

    default_code = "no_capacity"


class UpstreamError(PenstockError):
    """An engine failed: lost, stalled, timed out, answered nonsense or raised; the code says which."""

    default_code = "engine_error"


class ConfigurationError(PenstockError):
    """A setting, profile or card is refused at load."""

    default_code = "invalid_configuration"
