"""Whether a callback comes from your offshoot. Nothing but Python 3.

As a program: WEBHOOK_SECRET and the headers by their CGI names (HTTP_WEBHOOK_ID ...) in the environment, the body on
standard input; ends with 0 if it is signed, 1 if not. `verify.py agent` judges X-Agent-Signature instead.
"""
import base64, hashlib, hmac, os, sys, time

TOLERANCE_SECONDS = 300


def verify(secret, headers, body):
    """Standard Webhooks. Header names in lower case; the body as bytes, before any parsing."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    event, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not key or not (at.isascii() and at.isdigit()) or abs(time.time() - int(at)) > TOLERANCE_SECONDS:
        return False
    digest = hmac.new(key, f"{event}.{at}.".encode() + body, hashlib.sha256).digest()
    right = b"v1," + base64.b64encode(digest)
    given = headers.get("webhook-signature", "").encode().split(b" ")  # two while a secret is replaced
    return any([hmac.compare_digest(right, one) for one in given])


def verify_agent(secret, headers, body):
    """X-Agent-Signature: the body alone. What was sent once can be sent again by whoever saw it."""
    right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
    given = headers.get("x-agent-signature", "").removeprefix("sha256=").encode()
    return bool(secret) and hmac.compare_digest(right, given)


if __name__ == "__main__":
    headers = {k[5:].lower().replace("_", "-"): v for k, v in os.environ.items() if k.startswith("HTTP_")}
    judge = verify_agent if sys.argv[1:] == ["agent"] else verify
    sys.exit(0 if judge(os.environ.get("WEBHOOK_SECRET", ""), headers, sys.stdin.buffer.read()) else 1)
