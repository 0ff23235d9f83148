"""Model APIs that refuse every request with 429: one for a limit that passes by itself, one for a used-up subscription."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RENEWAL_SECONDS = 8 * 3600 + 44 * 60 + 7


def passing(path: str) -> tuple[dict, dict]:
    """What a key is told that asks too often."""
    if path.lower().endswith("generatecontent"):
        return {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}, {}
    if path.endswith("/messages"):
        return {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}, {}
    return {"error": {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "slow down"}}, {}


def used_up(path: str) -> tuple[dict, dict]:
    """What Anthropic, OpenAI and Google tell a login whose hours are used up."""
    until = int(time.time()) + RENEWAL_SECONDS
    if path.lower().endswith("generatecontent"):
        words = "You have exhausted your capacity on this model. Your quota will reset after 8h44m7s."
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "QUOTA_EXHAUSTED",
                "domain": "cloudcode-pa.googleapis.com", "metadata": {"quotaResetDelay": "8h44m7s"}}
        retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{RENEWAL_SECONDS}s"}
        return {"error": {"code": 429, "message": words, "status": "RESOURCE_EXHAUSTED", "details": [info, retry]}}, {}
    if path.endswith("/messages"):
        unified = "anthropic-ratelimit-unified-"
        return {"type": "error", "error": {"type": "rate_limit_error", "message": "limit reached"}}, {
            f"{unified}status": "rejected", f"{unified}reset": str(until),
            f"{unified}representative-claim": "five_hour", f"{unified}5h-status": "rejected",
            f"{unified}5h-reset": str(until), f"{unified}5h-utilization": "1.0"}
    return {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus",
                      "resets_at": until, "resets_in_seconds": RENEWAL_SECONDS}}, {}


class Limited:
    """Answers every POST with 429 and what `told` says."""

    def __init__(self, told) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 20

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                body, headers = told(self.path.split("?")[0])
                raw = json.dumps(body).encode()
                self.send_response(429)
                for name, value in {"content-type": "application/json", "content-length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
