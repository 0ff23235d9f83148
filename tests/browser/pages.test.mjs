// The pages on which one writes and looks after things: a new job, what a job changed, repositories, the system.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { close, open, shoot, withoutFaults } from "./stage.mjs";
import { visit } from "./world.mjs";

let world, browser;
before(async () => {
  ({ world, browser } = await open());
});
after(() => close({ world, browser }));

test("a job is written by the keyboard alone, and what is wrong is said at its field", async () => {
  const page = await visit(browser, world);
  await page.keyboard.press("c");
  await page.waitForURL("**/ui/new");
  const type = async (label, text) => {
    const isThere = () => page.getByLabel(label, { exact: true }).evaluate((field) => field === document.activeElement);
    for (let tabs = 0; !(await isThere()); tabs += 1) {
      assert.ok(tabs < 40, `${label} is not reached from ${await page.evaluate(() => document.activeElement.outerHTML)}`);
      await page.keyboard.press("Tab");
    }
    await page.keyboard.type(text);
  };
  const hasFocus = (id) => page.waitForFunction((id) => document.activeElement?.id === id, id);
  // the first field has the focus, which a browser gives it at a moment of its own
  await hasFocus("in-repo");
  await page.keyboard.type("acme/widgets");
  await type("What shall be done", "written by keys");
  await type("Branch", "not a branch");
  await page.keyboard.press("Enter");
  const alert = page.getByRole("alert");
  await alert.getByRole("link", { name: "Branch" }).waitFor();
  assert.equal(await page.getByLabel("What shall be done").inputValue(), "written by keys");
  assert.equal(await page.getByLabel("Branch", { exact: true }).getAttribute("aria-invalid"), "true");
  await shoot(page, "new-refused");
  await alert.getByRole("link", { name: "Branch" }).focus();
  await page.keyboard.press("Enter");
  await hasFocus("in-branchName");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("by/form");
  await page.keyboard.press("Enter");
  await page.getByText("Queued.").waitFor();
  assert.equal(new URL(page.url()).pathname.replace(/\d+/, "N"), "/ui/jobs/N");
  await page.getByRole("heading", { name: "Pushed: by/form" }).waitFor();
  await withoutFaults(page);
});

test("the commands beside a form are what it says at every letter, and do the same", async () => {
  const page = await visit(browser, world);
  await page.goto(`${world.url}/ui/new?repo=acme/widgets`);
  const prompt = "it's `$HOME`\nand \"more\" <b>";
  await page.getByLabel("What shall be done").fill(prompt);
  await page.getByLabel("Title").fill("As it's typed");
  await page.getByText("Agent, limits, labels").click();
  await page.getByLabel("Seconds at most").fill("900");
  await page.getByLabel("Labels").fill("one, two words");
  const shown = page.getByRole("complementary", { name: "The same in commands" });
  await shown.getByText("--label='two words'").waitFor();
  assert.equal(await page.getByLabel("Labels").inputValue(), "one, two words");
  assert.equal((await world.api("GET", "/jobs?q=typed")).total, 0, "nothing was sent");
  await shoot(page, "new");
  const [typed, curl] = await shown.locator("pre").allInnerTexts();
  for (const command of [typed, curl]) world.shell(command);
  await page.getByRole("button", { name: "Queue it" }).click();
  await page.getByText("Queued.").waitFor();
  const jobs = (await world.api("GET", "/jobs?q=typed")).jobs;
  assert.equal(jobs.length, 3);
  const seen = await Promise.all(jobs.map(async ({ id }) => {
    const { prompt, title, labels, options, clientName, baseBranch } = await world.api("GET", `/jobs/${id}`);
    return JSON.stringify({ prompt, title, labels, options, clientName, baseBranch });
  }));
  assert.equal(new Set(seen).size, 1, seen.join("\n"));
  assert.equal(JSON.parse(seen[0]).prompt, prompt);
  await withoutFaults(page);
});

test("without JavaScript a button shows the commands, and the form is whole", async () => {
  const page = await visit(browser, world, { javaScriptEnabled: false });
  await page.getByRole("link", { name: "New job" }).click();
  await page.getByLabel("Repository").fill("acme/widgets");
  await page.getByLabel("What shall be done").fill("without a script");
  await page.getByRole("button", { name: "Show the commands" }).click();
  await page.getByText("'without a script'").first().waitFor();
  await page.getByRole("button", { name: "Queue it" }).click();
  await page.getByRole("heading", { name: "without a script" }).waitFor();
  await withoutFaults(page);
});

test("what a job changed is read file by file, with a lock file of five megabytes among it, with and without JavaScript", async () => {
  const job = await world.submit("lockfile", { title: "Updates everything" });
  await world.over(job.number);
  for (const javaScriptEnabled of [true, false]) {
    const page = await visit(browser, world, { javaScriptEnabled });
    await page.goto(`${world.url}/ui/jobs/${job.number}`);
    await page.getByRole("navigation", { name: "This job" }).getByRole("link", { name: "Changes" }).click();
    await page.waitForURL("**/changes");
    const lock = page.locator("section.file", { hasText: "package-lock.json" });
    await lock.getByText("Written by a program: 100000 lines").waitFor();
    await page.locator("section.file", { hasText: "new.txt" }).getByRole("row", { name: "two <b>&" }).waitFor();
    await page.getByText("No text that could be compared.").waitFor();
    assert.ok((await page.content()).length < 200_000);
    const began = Date.now();
    await lock.getByRole("link", { name: "Show" }).click();
    await page.getByText('"name-3000"', { exact: false }).waitFor();
    console.log(`the first piece of a lock file was there after ${Date.now() - began} ms, script ${javaScriptEnabled}`);
    assert.ok((await page.content()).length < 1_000_000);
    await page.getByRole("link", { name: "Lines from 3001 of 100000" }).click();
    await page.getByText('"name-3001"', { exact: false }).waitFor();
    // a line has an address
    const number = page.locator("td.n a", { hasText: /^3005$/ });
    await number.click();
    await page.waitForURL(/#f\d+R3005$/);
    await page.goto(page.url());
    assert.ok(await number.isVisible());
    await shoot(page, "changes-lock");
    await withoutFaults(page);
  }
});

test("files of a change are gone through by keys", async () => {
  const page = await visit(browser, world);
  const job = await world.submit("lockfile", { title: "Is read by keys" });
  await world.over(job.number);
  await page.goto(`${world.url}/ui/jobs/${job.number}/changes`);
  await page.keyboard.press("n");
  await page.keyboard.press("n");
  const at = () => page.evaluate(() => document.activeElement.textContent);
  const second = await at();
  await page.keyboard.press("p");
  assert.notEqual(await at(), second);
  await withoutFaults(page);
});

test("what is typed stays while the page changes around it", async () => {
  const other = await open();
  try {
    const page = await visit(other.browser, other.world);
    await page.goto(`${other.world.url}/ui/clients`);
    await page.getByText("No repository is known yet").waitFor();
    await page.getByText("Register a repository").click();
    const field = page.getByLabel("Repository", { exact: true });
    await field.fill("acme/half-a-na");
    await other.world.submit("later");
    await page.getByRole("link", { name: "acme/widgets" }).waitFor();
    assert.equal(await field.inputValue(), "acme/half-a-na");
    assert.ok(await field.evaluate((field) => field === document.activeElement));
    await withoutFaults(page);
  } finally {
    await close(other);
  }
});

test("a profile whose template has no place for a prompt is used without one", async () => {
  await world.api("POST", "/profiles", { name: "as-always", prompt: "Do what is always done" });
  const page = await visit(browser, world);
  await page.goto(`${world.url}/ui/new?repo=acme/widgets`);
  await page.getByLabel("Profile").selectOption("as-always");
  await page.getByRole("complementary", { name: "The same in commands" }).getByText("--profile=as-always").waitFor();
  await page.getByRole("button", { name: "Queue it" }).click();
  await page.getByText("Queued.").waitFor();
  await withoutFaults(page);
});

test("a repository is looked after by forms, with a question before it is removed", async () => {
  const page = await visit(browser, world);
  await page.getByRole("link", { name: "Repositories" }).click();
  await page.getByText("Register a repository").click();
  await page.getByLabel("Repository", { exact: true }).fill("acme/none-such");
  await page.getByRole("button", { name: "Register and clone" }).click();
  await page.getByRole("alert").getByText("Nothing was registered").waitFor();
  assert.equal(await page.getByLabel("Repository", { exact: true }).inputValue(), "acme/none-such");
  world.remote("acme", "gears");
  await page.getByLabel("Repository", { exact: true }).fill("acme/gears");
  await page.getByRole("button", { name: "Register and clone" }).click();
  await page.getByText("Registered and cloned.").waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("Nothing of it starts").waitFor();
  await shoot(page, "repository");
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByText("its jobs start again").waitFor();
  await page.getByRole("button", { name: "Sync acme/gears" }).click();
  await page.getByText("Synced: the clone is as the remote is.").waitFor();
  // the question is the script's, which runs before that
  await page.waitForLoadState();
  await page.getByText("Remove…").click();
  await page.getByRole("button", { name: "Remove acme/gears" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Back" }).click();
  assert.ok((await world.api("GET", "/clients")).clients.some((client) => client.githubRepo === "gears"), "nothing was removed yet");
  await page.getByRole("button", { name: "Remove acme/gears" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Yes" }).click();
  await page.getByText("Removed. The history of its jobs stays.").waitFor();
  assert.ok(!(await world.api("GET", "/clients")).clients.some((client) => client.githubRepo === "gears"));
  await withoutFaults(page);
});

test("a token is made, shown once, and revoked after a question; a backup is made", async () => {
  const page = await visit(browser, world);
  await page.keyboard.press("g");
  await page.keyboard.press("s");
  await page.getByRole("button", { name: "Back up now" }).click();
  await page.getByText("Backed up, and the copy was looked through.").waitFor();
  await page.getByRole("navigation", { name: "System" }).getByRole("link", { name: "Tokens" }).click();
  await page.getByText("New token").click();
  await page.getByLabel("Name").fill("ci");
  await page.getByLabel("May").selectOption("submit");
  await page.getByRole("button", { name: "Make it" }).click();
  const token = await page.getByRole("region", { name: "The new token" }).locator("code").innerText();
  assert.match(token, /^ofs_/);
  const may = () => fetch(`${world.url}/jobs`, { headers: { authorization: `Bearer ${token}` } }).then((answer) => answer.status);
  assert.equal(await may(), 200);
  await shoot(page, "token");
  await page.goto(`${world.url}/ui/system/tokens`);
  assert.ok(!(await page.content()).includes(token), "it is shown once");
  await page.getByRole("button", { name: "Revoke ci" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Yes" }).click();
  await page.getByText("Revoked: it opens nothing any more.").waitFor();
  assert.equal(await may(), 401);
  await withoutFaults(page);
});

test("a job that was tried again leads to its retry and back, by what its prompt says", async () => {
  const page = await visit(browser, world);
  const first = await world.submit("fail");
  await world.over(first.number);
  await page.goto(`${world.url}/ui/jobs/${first.number}`);
  await page.getByRole("heading", { name: `fail #${first.number}`, level: 1 }).waitFor();
  assert.match(await page.title(), new RegExp(`^#${first.number} fail`));
  const second = await world.api("POST", `/jobs/${first.number}/retry`, {});
  // by itself, while it is looked at or when it is looked at again
  await page.reload();
  await page.getByRole("region", { name: "Outcome" }).getByRole("link", { name: `#${second.number}` }).click();
  await page.waitForURL(`**/ui/jobs/${second.number}`);
  await page.getByRole("complementary", { name: "About this job" }).getByRole("link", { name: `#${first.number}` }).click();
  await page.waitForURL(`**/ui/jobs/${first.number}`);
  await page.goto(`${world.url}/ui/jobs`);
  await page.locator(`#job-${first.number}`).getByText(`retried as #${second.number}`).waitFor();
  await shoot(page, "retried");
  await withoutFaults(page);
});

test("the doctor is asked by a button, also without JavaScript, and says what to type", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const page = await visit(browser, world, { javaScriptEnabled });
    await page.getByRole("link", { name: "System" }).click();
    await page.getByRole("navigation", { name: "System" }).getByRole("link", { name: "Doctor" }).click();
    await page.getByRole("button", { name: "Look now" }).click();
    await page.getByRole("button", { name: "Look again" }).waitFor({ timeout: 60_000 });
    const rows = page.getByRole("region", { name: "Doctor" }).getByRole("listitem");
    await rows.filter({ hasText: "data_dir" }).getByText("ok", { exact: true }).waitFor();
    const mended = rows.filter({ hasText: "To mend it:" });
    assert.ok(await mended.count() > 0, "this world lacks a token of GitHub");
    assert.ok(await mended.first().locator("code").count() >= 2, "a code, and a command");
    await shoot(page, `doctor${javaScriptEnabled ? "" : "-no-js"}`);
    await withoutFaults(page);
  }
});
