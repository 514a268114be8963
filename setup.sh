#!/usr/bin/env bash
# Makes .venv with everything Penstock needs, from the lock files. Run again, it does nothing unless a lock changed.
# `setup.sh --accelerator` only prints which set it is: cpu or gpu. The Makefile asks here, so that there is one decision.
# Settings (environment): PYTHON  the interpreter to use          PENSTOCK_ACCELERATOR  cpu | gpu  (default: looks for a GPU)
set -euo pipefail
cd "$(dirname "$0")"

UV_VERSION=0.13.9
TORCH_VERSION=2.13.0
NEEDED_GB=10
LOG=.venv-setup.log

fail() { printf '\npenstock set-up: %s\n' "$1" >&2; exit 1; }
say() { printf 'penstock set-up: %s\n' "$1" >&2; }

[ "$(uname -s)" = Linux ] && [ "$(uname -m)" = x86_64 ] \
  || fail "this needs Linux on x86-64; here is $(uname -s) on $(uname -m)."

find_python() {
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null 2>&1 \
      && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$candidate"; return
    fi
  done
  fail "no Python 3.11, 3.12 or 3.13 found${PYTHON:+ as PYTHON=$PYTHON}. Install one, or name it: PYTHON=/path/to/python3.12 make setup"
}

find_accelerator() {
  if [ -n "${PENSTOCK_ACCELERATOR:-}" ]; then echo "$PENSTOCK_ACCELERATOR"
  elif command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then echo gpu
  else echo cpu; fi
}

accelerator=$(find_accelerator)
case $accelerator in cpu | gpu) ;; *) fail "PENSTOCK_ACCELERATOR is '$accelerator'; it must be cpu or gpu." ;; esac
if [ "${1:-}" = --accelerator ]; then echo "$accelerator"; exit 0; fi

python=$(find_python)
lock=requirements-$accelerator.txt
stamp=$(cat "$lock" overrides-cpu.txt pyproject.toml setup.sh | sha256sum | cut -c1-40)-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

if [ -f .venv/.penstock-setup ] && [ "$(cat .venv/.penstock-setup)" = "$stamp" ]; then
  exit 0
fi

free_gb=$(($(df -Pk . | awk 'NR==2 {print $4}') / 1048576))
[ "$free_gb" -ge "$NEEDED_GB" ] || fail "the set-up needs about $NEEDED_GB GB here, $free_gb GB are free."

say "Python $("$python" -V | cut -d' ' -f2), the $accelerator set; 2 to 8 minutes the first time (details: $LOG)"
: >"$LOG"
[ -x .venv/bin/python ] || "$python" -m venv .venv >>"$LOG" 2>&1 \
  || fail "$python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."

# uv does not read pip's settings: an index or a folder of wheels that pip knows is passed on.
pip_setting() { .venv/bin/python -m pip config get "$1" 2>/dev/null || true; }
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(pip_setting global.find-links)}}"
index="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(pip_setting global.index-url)}}"
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
[ -n "$UV_FIND_LINKS" ] || unset UV_FIND_LINKS

give_up() { tail -n 8 "$LOG" >&2; fail "$1"; }
unset PYTHONDONTWRITEBYTECODE # bytecode at install: every process of a stack imports vLLM, seconds of compiling each
install() { # returns 1 for a package that cannot be had; an index that does not answer ends the set-up by its name
  .venv/bin/uv pip install --python .venv/bin/python --no-progress --compile-bytecode "$@" >>"$LOG" 2>&1 && return
  local silent
  silent=$(tail -n 8 "$LOG" | sed -nE 's#.*error sending request for url \([a-z]+://([^/@]*@)?([^/)]+).*#\2#p' | tail -n 1)
  [ -z "$silent" ] || give_up "the package index at $silent cannot be reached (PIP_INDEX_URL names another one)."
  return 1
}

if [ ! -x .venv/bin/uv ]; then
  say "installing uv $UV_VERSION"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" >>"$LOG" 2>&1 \
    || give_up "the package index cannot be reached, or has no uv $UV_VERSION (PIP_INDEX_URL names another one)."
fi

if [ "$accelerator" = cpu ]; then
  # The CPU build of torch is not on every index: the configured index and wheel folders first, then PyTorch's own.
  say "installing torch $TORCH_VERSION for the CPU"
  install --no-deps "torch==$TORCH_VERSION+cpu" \
    || install --no-deps --torch-backend cpu "torch==$TORCH_VERSION" \
    || give_up "torch $TORCH_VERSION (CPU build) is on no index that can be reached."
fi
say "installing the locked packages ($(grep -c '==' "$lock"))"
install --no-deps -r "$lock" || give_up "the locked packages could not be installed; see $LOG."
install --no-deps -e . || give_up "the project itself could not be installed; see $LOG."

echo "$stamp" >.venv/.penstock-setup
say "done: .venv holds the $accelerator set"
