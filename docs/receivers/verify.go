// Whether a callback comes from your offshoot. Nothing but Go's own library.
//
// As a program: WEBHOOK_SECRET and the headers by their CGI names (HTTP_WEBHOOK_ID ...) in the environment, the body on
// standard input; ends with 0 if it is signed, 1 if not. `verify agent` judges X-Agent-Signature instead.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const toleranceSeconds = 300

func sum(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// Verify judges Standard Webhooks. The body is what was read from the request, before any parsing.
func Verify(secret string, headers http.Header, body []byte) bool {
	key := []byte(secret)
	if strings.HasPrefix(secret, "whsec_") {
		var err error
		if key, err = base64.StdEncoding.DecodeString(secret[len("whsec_"):]); err != nil {
			return false
		}
	}
	event, at := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	now := time.Now().Unix()
	if len(key) == 0 || err != nil || seconds < now-toleranceSeconds || seconds > now+toleranceSeconds {
		return false
	}
	right := sum(key, []byte(event+"."+at+"."), body)
	for _, given := range strings.Split(headers.Get("webhook-signature"), " ") { // two while a secret is replaced
		signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(given, "v1,"))
		if strings.HasPrefix(given, "v1,") && err == nil && hmac.Equal(right, signature) {
			return true
		}
	}
	return false
}

// VerifyAgent judges X-Agent-Signature: the body alone. What was sent once can be sent again by whoever saw it.
func VerifyAgent(secret string, headers http.Header, body []byte) bool {
	right := hex.EncodeToString(sum([]byte(secret), body))
	given := strings.TrimPrefix(headers.Get("x-agent-signature"), "sha256=")
	return secret != "" && hmac.Equal([]byte(right), []byte(given))
}

func main() {
	headers := http.Header{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "HTTP_") {
			headers.Set(strings.ReplaceAll(name[len("HTTP_"):], "_", "-"), value)
		}
	}
	body, err := io.ReadAll(os.Stdin)
	judge := Verify
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		judge = VerifyAgent
	}
	if err != nil || !judge(os.Getenv("WEBHOOK_SECRET"), headers, body) {
		os.Exit(1)
	}
}
