// Whether a callback comes from your offshoot. Nothing but Node 18 or newer.
//
// As a program: WEBHOOK_SECRET and the headers by their CGI names (HTTP_WEBHOOK_ID ...) in the environment, the body on
// standard input; ends with 0 if it is signed, 1 if not. `verify.mjs agent` judges X-Agent-Signature instead.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const TOLERANCE_SECONDS = 300;

const same = (a, b) => a.length === b.length && timingSafeEqual(a, b);

/** Standard Webhooks. Header names in lower case, as Node gives them; the body as a Buffer, before any parsing. */
export function verify(secret, headers, body) {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret);
  const event = headers['webhook-id'] ?? '', at = headers['webhook-timestamp'] ?? '';
  const isNow = /^[0-9]+$/.test(at) && Math.abs(Date.now() / 1000 - Number(at)) <= TOLERANCE_SECONDS;
  if (key.length === 0 || !isNow) return false;
  const digest = createHmac('sha256', key).update(`${event}.${at}.`).update(body).digest('base64');
  const given = (headers['webhook-signature'] ?? '').split(' '); // two while a secret is replaced
  return given.some((one) => same(Buffer.from(`v1,${digest}`), Buffer.from(one)));
}

/** X-Agent-Signature: the body alone. What was sent once can be sent again by whoever saw it. */
export function verifyAgent(secret, headers, body) {
  const right = createHmac('sha256', secret).update(body).digest('hex');
  const given = (headers['x-agent-signature'] ?? '').replace(/^sha256=/, '');
  return secret !== '' && same(Buffer.from(right), Buffer.from(given));
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const cgi = Object.entries(process.env).filter(([name]) => name.startsWith('HTTP_'));
  const headers = Object.fromEntries(cgi.map(([name, value]) => [name.slice(5).toLowerCase().replaceAll('_', '-'), value]));
  const judge = process.argv[2] === 'agent' ? verifyAgent : verify;
  process.exitCode = judge(process.env.WEBHOOK_SECRET ?? '', headers, readFileSync(0)) ? 0 : 1;
}
