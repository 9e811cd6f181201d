"""`serve run CONFIG`, and once it answers, where and how to try it: what `make serve` runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from deployments.environment import missing
from deployments.validate import checked

POLL_S = 0.5


def main(argv: list[str]) -> int:
    """Runs until interrupted. Exit code 1 for a refused config or a service that ended by itself."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m deployments.up CONFIG\n")
        return 2
    raw, found = checked(argv[0], starting=True)
    for problem in found:
        sys.stderr.write(f"{argv[0]}: {problem}\n")
    if found:
        return 1
    return _run(argv[0], _url(raw), {**missing(os.environ), **os.environ})


def _run(config: str, url: str, env: dict[str, str]) -> int:
    started_s = time.monotonic()
    serve = subprocess.Popen([Path(sys.executable).with_name("serve"), "run", config], env=env)  # noqa: S603 - our own
    try:
        while serve.poll() is None and not _answers(f"{url}/health"):
            time.sleep(POLL_S)
        if serve.poll() is None:
            sys.stdout.write(_invitation(url, _model(url), time.monotonic() - started_s))
            sys.stdout.flush()
        return serve.wait()
    except KeyboardInterrupt:
        return serve.wait()  # the terminal interrupted it too
    finally:
        if serve.poll() is None:
            serve.terminate()


def _url(raw: dict[str, Any]) -> str:
    http = raw.get("http_options") or {}
    host = http.get("host", "127.0.0.1")
    first: dict[str, Any] = next(iter(raw["applications"]), {})
    prefix = (first.get("route_prefix") or "/").rstrip("/")
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{http.get('port', 8000)}{prefix}"  # noqa: S104 - compared


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - http, built above
            return bool(answer.status == 200)
    except OSError:
        return False


def _model(url: str) -> str | None:
    """Its name; None where that is told only to who has a token."""
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as answer:  # noqa: S310 - http, built above
            return str(json.load(answer)["data"][0]["id"])
    except OSError:
        return None


def _invitation(url: str, model: str | None, took_s: float) -> str:
    text = {"prompt": "def fibonacci(n):", "max_tokens": 64, "stream": True}
    body = json.dumps(text if model is None else {"model": model, **text})
    token = "" if model else "-H 'authorization: Bearer TOKEN' "
    return (
        f"\nReady after {took_s:.0f} s: {url}/v1 ({f'model {model}' if model else 'it asks for a token'}). Try:\n\n"
        f"  curl -N {url}/v1/completions {token}-H 'content-type: application/json' -d '{body}'\n\n"
        f"Policy and its state: {url}/v1/policy. Change it live: edit `policy:` and run `serve deploy`.\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
