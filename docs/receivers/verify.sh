#!/bin/sh
# Whether a callback comes from your offshoot. Nothing but a POSIX shell and openssl.
#
# WEBHOOK_SECRET and the headers by their CGI names (HTTP_WEBHOOK_ID ...) in the environment, the body on standard input;
# ends with 0 if it is signed, 1 if not. `verify.sh agent` judges X-Agent-Signature instead.
#
# openssl takes a key only as an argument, which other users of the machine see while it runs (some milliseconds).
set -uf
TOLERANCE_SECONDS=300

to_hex() { od -An -v -tx1 | tr -d ' \n'; }
hmac() { openssl dgst -sha256 -mac HMAC -macopt "hexkey:$1" -binary; }

SECRET=${WEBHOOK_SECRET:-}
[ -n "$SECRET" ] || exit 1

if [ "${1:-}" = agent ]; then
    # The body alone. What was sent once can be sent again by whoever saw it.
    RIGHT=$(hmac "$(printf %s "$SECRET" | to_hex)" | to_hex)
    GIVEN=${HTTP_X_AGENT_SIGNATURE:-}
    [ -n "$RIGHT" ] && [ "${GIVEN#sha256=}" = "$RIGHT" ]
    exit
fi

# Standard Webhooks.
ID=${HTTP_WEBHOOK_ID:-}
AT=${HTTP_WEBHOOK_TIMESTAMP:-}
case $AT in '' | 0* | *[!0-9]* | ???????????*) exit 1 ;; esac
AGE=$(($(date +%s) - AT))
[ "${AGE#-}" -le "$TOLERANCE_SECONDS" ] || exit 1

case $SECRET in
    whsec_*) KEY=$(printf %s "${SECRET#whsec_}" | openssl base64 -d -A | to_hex) ;;
    *) KEY=$(printf %s "$SECRET" | to_hex) ;;
esac
[ -n "$KEY" ] || exit 1
RIGHT=v1,$({ printf '%s.%s.' "$ID" "$AT"; cat; } | hmac "$KEY" | openssl base64 -A)
# without this a broken openssl would make a signature that anybody can write
[ "${#RIGHT}" -eq 47 ] || exit 1
for GIVEN in ${HTTP_WEBHOOK_SIGNATURE:-}; do # two while a secret is replaced
    [ "$GIVEN" = "$RIGHT" ] && exit 0
done
exit 1
