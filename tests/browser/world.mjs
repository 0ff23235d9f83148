// A server of its own with scripted agents and local remotes, and browsers that are signed in to it.
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../..");
const PROGRAM = process.env.OFFSHOOT ?? join(ROOT, "target/debug/offshoot");
const CHROMIUM = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
const SECRET = "0123456789abcdef0123456789abcdef";
const LONG_MS = 20_000;

// What is missing for these tests, if anything is.
export const missing = [CHROMIUM ? null : "chromium", existsSync(PROGRAM) ? null : `${PROGRAM} (cargo build)`].filter(Boolean).join(" and ");

// Does what its prompt says: `lines N`, `lockfile` (five megabytes of it, and some other changes), `wait FILE` (or until the world is gone), `fail`, `fail FILE`.
const AGENT = `#!/bin/sh
prompt=$(cat)
case "$prompt" in
*"fail /"*) file=\${prompt##*fail }; echo "begun"; while [ ! -e "$file" ] && [ -d "\${file%/*}" ]; do sleep 0.1; done; exit 3 ;;
*lockfile*) seq 1 100000 | sed 's/.*/  "name-&": "00000000000000000000000000000000",/' > package-lock.json; printf 'one\ntwo <b>&\n' > new.txt; printf 'a\\0b' > picture.png ;;
*fail*) echo 'boom <b>&'; exit 3 ;;
*lines*) seq -f "line %.0f of output" \${prompt##*lines } ;;
*wait*) file=\${prompt##*wait }; echo "begun"; n=0; while [ ! -e "$file" ] && [ -d "\${file%/*}" ]; do sleep 0.1; if [ -e "$file.say" ]; then n=$((n+1)); rm -f "$file.say"; echo "said $n"; fi; done; echo "ended" ;;
esac
echo "$prompt" >> NOTES.md
`;

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

export class World {
  // `more`: further lines of the configuration's [server].
  static async start(more = "") {
    const world = new World();
    // short: control sockets have at most 103 bytes of path
    world.dir = mkdtempSync("/tmp/ob-");
    world.port = await freePort();
    world.url = `http://127.0.0.1:${world.port}`;
    const below = (name) => join(world.dir, name);
    mkdirSync(below("home"), { recursive: true });
    world.remote("acme", "widgets");
    writeFileSync(below("agent.sh"), AGENT);
    chmodSync(below("agent.sh"), 0o755);
    const quoted = (name) => JSON.stringify(below(name));
    writeFileSync(below("config.toml"), `
[server]
port = ${world.port}
${more}
[paths]
data_dir = ${quoted("data")}
repos_dir = ${quoted("repos")}
worktrees_dir = ${quoted("worktrees")}
files_dir = ${quoted("files")}
[github]
clone_url = ${JSON.stringify(below("remotes/{org}/{repo}.git"))}
[callbacks]
allow = ["127.0.0.1"]
[log]
level = "error"
[agents.script]
kind = "command"
command = ${quoted("agent.sh")}
[defaults]
agent = "script"
publish = "branch"
isolation = "none"
`, { mode: 0o600 });
    try {
      await world.serve();
    } catch (fault) {
      await world.end();
      throw fault;
    }
    return world;
  }

  // A repository with one commit, where clones come from.
  remote(org, repo) {
    const path = join(this.dir, `remotes/${org}/${repo}.git`);
    mkdirSync(path, { recursive: true });
    const git = (...args) => execFileSync("git", ["-C", path, ...args], { encoding: "utf8" }).trim();
    git("init", "-q", "--bare", "-b", "main", ".");
    const tree = git("hash-object", "-w", "-t", "tree", "/dev/null");
    const commit = git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit-tree", "-m", "first", tree);
    git("update-ref", "refs/heads/main", commit);
  }

  async serve() {
    const env = { PATH: process.env.PATH, HOME: join(this.dir, "home"), AGENT_API_SECRET: SECRET };
    this.env = env;
    this.server = spawn(PROGRAM, ["--config", join(this.dir, "config.toml"), "serve"], { env, stdio: ["ignore", "ignore", "inherit"] });
    await until("the server answers", () => fetch(`${this.url}/livez`).then((answer) => answer.ok, () => false));
  }

  // As a crash, or a machine that lost its power.
  async kill() {
    const gone = new Promise((done) => this.server.once("exit", done));
    this.server.kill("SIGKILL");
    await gone;
  }

  async end() {
    if (this.server.exitCode === null && this.server.signalCode === null) {
      const gone = new Promise((done) => this.server.once("exit", done));
      this.server.kill("SIGTERM");
      const impatient = setTimeout(() => this.server.kill("SIGKILL"), LONG_MS);
      await gone;
      clearTimeout(impatient);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }

  async api(method, path, body) {
    const headers = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };
    const answer = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    const value = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(value)}`);
    return value;
  }

  submit(prompt, more = {}) {
    return this.api("POST", "/jobs", { githubOrg: "acme", githubRepo: "widgets", prompt, ...more });
  }

  over(number) {
    return until(`job ${number} is over`, async () => (await this.api("GET", `/jobs/${number}`)).completedAt);
  }

  // What `offshoot open --print` prints.
  link() {
    return execFileSync(PROGRAM, ["--config", join(this.dir, "config.toml"), "open", "--print"], { env: this.env, encoding: "utf8" }).trim();
  }

  // As somebody who copies a command from a page.
  shell(command) {
    const env = { ...this.env, PATH: `${dirname(PROGRAM)}:${this.env.PATH}`, OFFSHOOT_URL: this.url };
    return execFileSync("sh", ["-ec", command.replaceAll("\u00a0", " ")], { env, cwd: this.dir, encoding: "utf8", timeout: LONG_MS });
  }

  // A file that lets an agent go on.
  gate(name) {
    const path = join(this.dir, name);
    return { path, open: () => writeFileSync(path, ""), say: () => writeFileSync(`${path}.say`, "") };
  }
}

export async function browse(playwright) {
  return playwright.chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

// A page whose requests, errors and breaches of the policy are collected.
export async function visit(browser, world, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.foreign = [];
  page.faults = [];
  page.on("request", (request) => { if (!request.url().startsWith(world.url) && !request.url().startsWith("data:")) page.foreign.push(request.url()); });
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("console", (message) => { if (/Content.Security.Policy/i.test(message.text())) page.faults.push(message.text()); });
  page.setDefaultTimeout(LONG_MS);
  await page.goto(world.link());
  await page.waitForURL("**/ui/");
  return page;
}

export async function until(what, is, limit = LONG_MS) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await is();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${limit} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
