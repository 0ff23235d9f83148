// The pictures of the README, of a demonstration that goes on: `just screenshots`. Each is small enough for a page that is read on the way.
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { browse, missing, until } from "./world.mjs";

const BYTES_MAX = 150 * 1024;
const ROOT = resolve(import.meta.dirname, "../..");
const PROGRAM = process.env.OFFSHOOT ?? join(ROOT, "target/debug/offshoot");
const OUT = process.env.OFFSHOOT_SHOTS ?? join(ROOT, "docs/images");
// A demonstration has its own story to tell first.
const STORY_MS = 180_000;

if (missing) throw new Error(`no pictures for want of ${missing}`);
const playwright = await import("playwright-core");
mkdirSync(OUT, { recursive: true });

const demo = spawn(PROGRAM, ["demo", "--keep"], { stdio: ["ignore", "pipe", "pipe"] });
let said = "";
for (const stream of [demo.stdout, demo.stderr]) stream.on("data", (bytes) => { said += bytes; });
let browser;
try {
  // from here on: a browser that does not start leaves no demonstration behind
  browser = await browse(playwright);
  // both are said, in pieces that come as they like; one cut off is waited for to its end
  const [link, token] = await until("the demonstration invites", () => {
    if (demo.exitCode !== null) throw new Error(`the demonstration ended with ${demo.exitCode}:\n${said}`);
    const found = [/^ +(http:\S+) +the dashboard/m.exec(said)?.[1], /OFFSHOOT_TOKEN=(\S+)\s/.exec(said)?.[1]];
    return found.every(Boolean) && found;
  }, STORY_MS);
  const { origin } = new URL(link);
  const { jobs } = await (await fetch(`${origin}/jobs`, { headers: { authorization: `Bearer ${token}` } })).json();
  const pushed = jobs.find((job) => job.outcome === "pull_request" && job.filesChanged > 0).number;
  const failed = jobs.find((job) => job.status === "failed").number;

  const page = await (await browser.newContext({ viewport: { width: 1000, height: 565 }, colorScheme: "light" })).newPage();
  await page.goto(link);
  await page.waitForURL("**/ui/");
  for (const [name, path, heading] of [
    ["jobs", "/ui/jobs", "Jobs"],
    ["job", `/ui/jobs/${pushed}`, `#${pushed}`],
    ["failed", `/ui/jobs/${failed}`, `#${failed}`],
  ]) {
    await page.goto(origin + path);
    await page.getByRole("heading", { level: 1, name: heading }).waitFor();
    const picture = await page.screenshot();
    if (picture.length > BYTES_MAX) throw new Error(`${name} has ${picture.length} bytes, more than ${BYTES_MAX}`);
    writeFileSync(join(OUT, `${name}.png`), picture);
    console.log(`${name}.png: ${picture.length} bytes`);
  }
} finally {
  demo.kill("SIGTERM");
  await browser?.close();
}
