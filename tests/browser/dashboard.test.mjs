// The dashboard in a real browser. State is made through the API, and looked at through roles and names.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { close, open, shoot, withoutFaults } from "./stage.mjs";
import { until, visit } from "./world.mjs";

let world, browser;
before(async () => {
  ({ world, browser } = await open());
});
after(() => close({ world, browser }));

test("the link lets in once, and an empty queue teaches", async () => {
  const page = await visit(browser, world);
  await page.getByRole("heading", { name: "The queue is empty: send the first job" }).waitFor();
  await shoot(page, "empty");
  const link = world.link();
  await page.goto(link);
  await page.waitForURL("**/ui/");
  await page.goto(link);
  await page.getByText("This link was used already").waitFor();
  await withoutFaults(page);
});

test("the queue changes by itself, within half a second", async () => {
  const page = await visit(browser, world);
  const gate = world.gate("live");
  // an agent that waits is under way before anything is measured
  const first = await world.submit(`wait ${gate.path}`, { title: "Runs for a while" });
  const row = page.locator(`#job-${first.number}`);
  await row.getByText("begun").waitFor();
  const times = [];
  for (let round = 0; round < 5; round += 1) {
    const title = `Shows up ${round}`;
    await world.api("POST", "/queue/pause", {});
    const began = Date.now();
    await world.submit("later", { title });
    await page.getByRole("link", { name: title }).waitFor();
    times.push(Date.now() - began);
  }
  await world.api("POST", "/queue/resume", {});
  times.sort((a, b) => a - b);
  console.log(`a change was seen after ${times.join(", ")} ms`);
  assert.ok(times[3] <= 500, `${times}`);
  await shoot(page, "queue");
  gate.open();
  await world.over(first.number);
  await page.getByText("Nothing runs.").waitFor();
  await withoutFaults(page);
});

test("a morph leaves focus, text and what was opened as they are", async () => {
  const page = await visit(browser, world);
  const before = (await world.api("GET", "/jobs?limit=1")).jobs[0];
  await page.goto(`${world.url}/ui/jobs/${before.number}`);
  await page.goto(`${world.url}/ui/jobs`);
  await page.getByRole("searchbox", { name: "Search jobs" }).nth(1).fill("half a wo");
  await page.getByLabel(`Tick #${before.number}`).check();
  await page.getByRole("searchbox", { name: "Search jobs" }).nth(1).focus();
  await world.submit("morph", { title: "Comes meanwhile" });
  await page.getByRole("link", { name: "Comes meanwhile" }).waitFor();
  assert.equal(await page.evaluate(() => [document.activeElement.id, document.activeElement.value].join(" ")), "q half a wo");
  assert.ok(await page.getByLabel(`Tick #${before.number}`).isChecked());
  await withoutFaults(page);
});

test("the log follows until the reader reads, over a server that is killed, without a lost or doubled line", async () => {
  const page = await visit(browser, world, { viewport: { width: 1000, height: 500 } });
  const gate = world.gate("log");
  const job = await world.submit(`wait ${gate.path}`, { title: "Talks" });
  await page.goto(`${world.url}/ui/jobs/${job.number}`);
  const log = page.getByRole("log", { name: "Log" });
  await log.getByText("begun").waitFor();
  const say = async (number) => { gate.say(); await log.getByText(`said ${number}`, { exact: true }).waitFor(); };
  await say(1);
  const pill = page.getByRole("button", { name: "Following" });
  await pill.waitFor();
  const isAtEnd = () => page.evaluate(() => innerHeight + scrollY >= document.documentElement.scrollHeight - 2);
  assert.ok(await isAtEnd(), "it is at the end");
  await page.mouse.move(500, 300);
  await page.mouse.wheel(0, -300);
  await page.getByRole("button", { name: "Follow", exact: true }).waitFor();
  const at = await page.evaluate(() => scrollY);
  await say(2);
  assert.equal(await page.evaluate(() => scrollY), at, "who reads is not moved");
  await page.getByRole("button", { name: "1 new line" }).click();
  assert.ok(await isAtEnd());
  await world.kill();
  gate.say();
  await world.serve();
  await log.getByText("said 3", { exact: true }).waitFor();
  await say(4);
  gate.open();
  await page.getByRole("heading", { name: "Pushed:" }).waitFor();
  await log.getByText("ended").waitFor();
  const numbers = await log.locator("a.n").allInnerTexts();
  assert.deepEqual(numbers, numbers.map((_, index) => String(index + 1)), "each line once, in order");
  const said = (await log.innerText()).match(/said \d/g);
  assert.deepEqual(said, ["said 1", "said 2", "said 3", "said 4"]);
  await shoot(page, "log");
  // one line has an address, and so has a range
  await page.goto(`${world.url}/ui/jobs/${job.number}#L2-L3`);
  assert.equal(await log.locator("li.marked").count(), 2);
  await page.getByRole("searchbox", { name: "Find in the log" }).fill("said");
  await page.keyboard.press("Enter");
  await page.getByText("1/4").waitFor();
  await withoutFaults(page);
});

test("an answer is to the question that was asked, whatever the page has become meanwhile", async () => {
  const page = await visit(browser, world);
  const gate = world.gate("asked");
  const job = await world.submit(`fail ${gate.path}`, { title: "Ends under the question" });
  await page.goto(`${world.url}/ui/jobs/${job.number}`);
  await page.getByRole("log").getByText("begun").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("dialog").waitFor();
  gate.open();
  await page.getByRole("button", { name: "Retry", includeHidden: true }).waitFor({ state: "attached" });
  const before = (await world.api("GET", "/jobs?limit=1")).total;
  await page.getByRole("button", { name: "Yes" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.reload();
  assert.equal((await world.api("GET", "/jobs?limit=1")).total, before, "nothing was retried");
  assert.equal(new URL(page.url()).pathname, `/ui/jobs/${job.number}`);
  await withoutFaults(page);
});

test("whatever moves a reader up ends the following, and a range may be absurd", async () => {
  const page = await visit(browser, world, { viewport: { width: 1000, height: 500 } });
  const gate = world.gate("moved");
  const job = await world.submit(`wait ${gate.path}`, { title: "Is read" });
  await page.goto(`${world.url}/ui/jobs/${job.number}`);
  const log = page.getByRole("log", { name: "Log" });
  await log.getByText("begun").waitFor();
  const say = async (number) => { gate.say(); await log.getByText(`said ${number}`, { exact: true }).waitFor(); };
  await page.getByRole("button", { name: "Following" }).waitFor();
  // as a dragged scroll bar does, or the browser's own search
  await page.evaluate(() => scrollTo(0, 0));
  await page.getByRole("button", { name: "Follow", exact: true }).waitFor();
  await say(1);
  assert.equal(await page.evaluate(() => scrollY), 0);
  await page.goto(`${world.url}/ui/jobs/${job.number}#L1-L99999999999`);
  assert.ok((await log.locator("li.marked").count()) > 0);
  gate.open();
  await world.over(job.number);
  await withoutFaults(page);
});

test("the way in has no fault of a script", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(`${world.url}/ui/sign-in`);
  await page.getByRole("button", { name: "Copy the command" }).click();
  await page.getByRole("heading", { name: "offshoot" }).click();
  await page.keyboard.press("?");
  assert.deepEqual(faults, []);
  await context.close();
});

test("a job is stopped, retried and followed up by the keyboard alone", async () => {
  const page = await visit(browser, world);
  const gate = world.gate("keys");
  const job = await world.submit(`wait ${gate.path}`, { title: "By keys", branchName: "by/keys" });
  // it runs: a row that moves from one list to the other is made anew
  await page.locator(`#job-${job.number}`).getByText("begun").waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL(`**/ui/jobs/${job.number}`);
  await page.getByRole("log").getByText("begun").waitFor();
  await page.keyboard.press("s");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Enter");
  // a heading comes by a look at the page, too: this is the page that answers
  await page.waitForURL("**said=cancelled**");
  await page.getByRole("heading", { name: "Cancelled" }).waitFor();
  gate.open();
  await page.keyboard.press("r");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Enter");
  await page.getByText("Queued again, as this new job.").waitFor();
  await page.getByRole("heading", { name: "Pushed:" }).waitFor();
  await page.getByText("Follow up", { exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.type("and one thing more");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("it goes on where the job before ended").waitFor();
  await page.waitForLoadState();
  await page.keyboard.press("g");
  await page.keyboard.press("j");
  await page.waitForURL("**/ui/jobs");
  await withoutFaults(page);
});

test("without JavaScript everything is there and every button works", async () => {
  const page = await visit(browser, world, { javaScriptEnabled: false });
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("The queue is paused").waitFor();
  const job = await world.submit("later", { title: "No script" });
  await page.reload();
  await page.locator(`#job-${job.number}`).getByRole("button", { name: "Cancel" }).click();
  await page.getByText("nothing of it runs any more").waitFor();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("link", { name: "No script" }).click();
  await page.getByRole("button", { name: "Retry" }).click();
  await page.getByText("Queued again").waitFor();
  await page.getByRole("button", { name: /^Colours/ }).click();
  assert.equal(await page.locator("html").getAttribute("data-theme"), "light");
  await page.getByLabel(/^Signed in as/).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL("**/ui/sign-in");
  await page.goto(`${world.url}/ui/`);
  await page.waitForURL("**/ui/sign-in?**");
  await withoutFaults(page);
});

test("eight pages at once are all alive", async () => {
  const page = await visit(browser, world);
  const pages = [page];
  while (pages.length < 8) {
    const next = await page.context().newPage();
    await next.goto(`${world.url}/ui/`);
    pages.push(next);
  }
  await world.submit("eight", { title: "For all eight" });
  // a page in the background looks when it is looked at
  for (const one of pages) {
    await one.bringToFront();
    await one.getByRole("link", { name: "For all eight" }).waitFor();
  }
  await withoutFaults(page);
});

test("a long log is there in five seconds", async () => {
  const page = await visit(browser, world);
  const job = await world.submit("lines 100000");
  await world.over(job.number);
  const began = Date.now();
  await page.goto(`${world.url}/ui/jobs/${job.number}`);
  await page.getByRole("log").getByText("line 100000 of output").waitFor({ state: "attached" });
  console.log(`100,000 lines of output were there after ${Date.now() - began} ms`);
  assert.ok(Date.now() - began < 5000);
  await withoutFaults(page);
});

test("the first load is small", async () => {
  const page = await visit(browser, world);
  const context = await browser.newContext({ storageState: await page.context().storageState() });
  const fresh = await context.newPage();
  const bodies = [];
  fresh.on("response", (response) => { if (response.url().startsWith(world.url) && !response.url().includes("/events")) bodies.push(response); });
  await fresh.goto(`${world.url}/ui/`);
  await until("everything is loaded", async () => bodies.length >= 3);
  const sizes = await Promise.all(bodies.slice(0, 3).map(async (response) => gzipSync(await response.body()).length));
  const sum = sizes.reduce((a, b) => a + b, 0);
  console.log(`a first load has ${bodies.length} requests and ${sum} bytes with gzip`);
  assert.ok(sum <= 60_000 && bodies.length <= 4, `${sum} ${bodies.map((one) => one.url())}`);
  await context.close();
  await withoutFaults(page);
});
