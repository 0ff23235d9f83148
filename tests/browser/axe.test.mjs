// axe and the width of every page × {empty, busy, failed} × {light, dark, phone}.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { axe, close, open, shoot, withoutFaults } from "./stage.mjs";
import { until, visit } from "./world.mjs";

let world, browser;
before(async () => {
  ({ world, browser } = await open());
});
after(() => close({ world, browser }));

const LOOKS = { light: { colorScheme: "light" }, dark: { colorScheme: "dark" }, phone: { viewport: { width: 390, height: 844 } } };
const ALWAYS = ["/ui/", "/ui/jobs", "/ui/new", "/ui/clients", "/ui/system", "/ui/system/doctor", "/ui/system/deliveries", "/ui/system/tokens", "/ui/system/audit"];

const REFUSED = { "/ui/nowhere": 404 };

async function look(page, name, look, path) {
  await page.waitForLoadState();
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const told = violations.map((fault) => `${name} ${look} ${path} ${fault.id}: ${fault.nodes.map((node) => node.html).slice(0, 2)}`);
  assert.deepEqual(told, []);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${name} ${look} ${path} is ${overflow} px too wide`);
  await shoot(page, `${name}-${look}-${path.replace(/\W+/g, "-")}`, { fullPage: true });
}

async function lookAtAll(name, paths) {
  let looked = 0;
  for (const [kind, options] of Object.entries(LOOKS)) {
    const page = await visit(browser, world, { ...options, bypassCSP: true });
    for (const path of paths) {
      const answer = await page.goto(world.url + path);
      assert.equal(answer.status(), REFUSED[path] ?? 200, path);
      await look(page, name, kind, path);
      looked += 1;
    }
    await withoutFaults(page);
  }
  console.log(`axe found nothing on ${looked} pages, ${name}`);
}

test("the ways in have no fault that axe knows", async () => {
  for (const [kind, options] of Object.entries(LOOKS)) {
    const context = await browser.newContext({ ...options, bypassCSP: true });
    const page = await context.newPage();
    await page.goto(`${world.url}/ui/sign-in`);
    await look(page, "door", kind, "/ui/sign-in");
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await look(page, "door", kind, "/ui/sign-in?wrong");
    await page.goto(`${world.link().replace(/[^/?]+(\?|$)/, "x$1")}`);
    await look(page, "door", kind, "/ui/enter");
    await context.close();
  }
});

test("no page has a fault that axe knows while all is empty", async () => {
  await lookAtAll("empty", [...ALWAYS, "/ui/nowhere"]);
});

test("no page has a fault that axe knows while there is much to do", async () => {
  const changed = await world.submit("lockfile", { title: "Updates everything" });
  await world.over(changed.number);
  const gates = ["one", "two"].map((name) => world.gate(name));
  const running = [];
  for (const gate of gates) running.push(await world.submit(`wait ${gate.path}`, { title: "Is running", labels: ["a", "b"] }));
  await until("both run", async () => (await world.api("GET", "/queue")).running.length === 2);
  await world.submit("later", { title: "Waits for a place" });
  await world.submit("later", { title: "Waits for its time", runAt: new Date(Date.now() + 3_600_000).toISOString() });
  await world.api("POST", `/jobs/${running[0].number}/follow-up`, { prompt: "goes on" });
  const client = (await world.api("GET", "/clients")).clients[0].id;
  const job = (one) => `/ui/jobs/${one.number}`;
  await lookAtAll("busy", [...ALWAYS, job(running[0]), `${job(running[0])}/changes`, job(changed), `${job(changed)}/changes`,
    `${job(changed)}/changes?path=package-lock.json&line=99000`, `/ui/clients/${client}`, `/ui/new?repo=acme/widgets`]);
  for (const gate of gates) gate.open();
  await until("nothing runs", async () => (await world.api("GET", "/queue")).running.length === 0);
});

test("no page has a fault that axe knows when things went wrong", async () => {
  const failed = await world.submit("fail", { title: "Goes wrong", osCallbackUrl: "http://127.0.0.1:9/hook" });
  await world.over(failed.number);
  const stopped = await world.submit("later", { title: "Is not wanted", runAt: new Date(Date.now() + 3_600_000).toISOString() });
  await world.api("POST", `/jobs/${stopped.number}/cancel`, {});
  await world.api("POST", "/queue/pause", { reason: "something is odd" });
  const client = (await world.api("GET", "/clients")).clients[0].id;
  await world.api("PATCH", `/clients/${client}`, { paused: true });
  await world.api("POST", "/tokens", { name: "old", scope: "read" });
  const job = (one) => `/ui/jobs/${one.number}`;
  await lookAtAll("failed", [...ALWAYS, job(failed), `${job(failed)}/changes`, job(stopped), `/ui/clients/${client}`, "/ui/jobs?q=nothing-fits",
    "/ui/jobs?q=status:odd", "/ui/system/deliveries?state=pending", "/ui/nowhere"]);
  for (const [kind, options] of Object.entries(LOOKS)) {
    const page = await visit(browser, world, { ...options, bypassCSP: true });
    await page.goto(`${world.url}/ui/new`);
    await page.getByLabel("Repository").fill("acme/widgets");
    await page.getByLabel("What shall be done").fill("refused");
    await page.getByLabel("Branch", { exact: true }).fill("not a branch");
    await page.getByRole("button", { name: "Queue it" }).click();
    await page.getByRole("alert").waitFor();
    await look(page, "failed", kind, "/ui/new-refused");
    await page.goto(`${world.url}/ui/system/doctor`);
    await page.getByRole("button", { name: "Look now" }).click();
    await page.getByRole("button", { name: "Look again" }).waitFor({ timeout: 60_000 });
    await look(page, "failed", kind, "/ui/system/doctor-found");
    await page.context().close();
  }
});
