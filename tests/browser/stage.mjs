// What every file of tests begins with: a world, a browser, pictures, and pages that had no fault.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { World, browse, missing } from "./world.mjs";

const leftOut = (what) => {
  console.log(`LEFT OUT for want of ${what}: the dashboard in a browser`);
  process.exit(process.env.OFFSHOOT_BROWSER_NEEDED ? 1 : 0);
};
if (missing) leftOut(missing);
const playwright = await import("playwright-core").catch(() => leftOut("playwright-core (npm ci --prefix tests/browser)"));
const SHOTS = process.env.OFFSHOOT_SHOTS;

export const axe = readFileSync(new URL(import.meta.resolve("axe-core")), "utf8");

// A server of its own and a browser, for the tests of one file.
export async function open() {
  const world = await World.start();
  try {
    return { world, browser: await browse(playwright) };
  } catch (fault) {
    await world.end();
    throw fault;
  }
}

export async function close({ world, browser }) {
  await browser?.close();
  await world?.end();
}

export async function shoot(page, name, options = {}) {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}.png`, ...options });
}

export async function withoutFaults(page) {
  assert.deepEqual([page.foreign, page.faults], [[], []]);
  await page.context().close();
}
