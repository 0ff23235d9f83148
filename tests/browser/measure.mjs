// How long the server takes for its pages with 10,000 jobs that wait: `npm run measure`. What it prints stands in docs/dashboard.md.
import { World, missing } from "./world.mjs";

if (missing && !missing.startsWith("chromium")) throw new Error(`there is no ${missing}`);
const JOBS = Number(process.env.JOBS ?? 10_000);
const LOOKS = 100;
const AT_ONCE = 16;

const world = await World.start(`queue_max = ${JOBS + 10}`);
try {
  for (let number = 0; number < 12; number += 1) await world.over((await world.submit("nothing", { title: `Ended ${number}` })).number);
  await world.api("POST", "/queue/pause", {});
  const began = Date.now();
  let sent = 0;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (sent < JOBS) {
      sent += 1;
      await world.submit("later", { title: `Waits ${sent}`, branchName: `waits/${sent}` });
    }
  }));
  console.log(`${JOBS} jobs were queued in ${Math.round((Date.now() - began) / 1000)} s`);
  const entered = await fetch(world.link());
  const cookie = entered.headers.getSetCookie()[0].split(";")[0];
  for (const path of ["/ui/", "/ui/jobs", "/ui/jobs?q=status:queued", "/ui/jobs/1", "/ui/clients", "/ui/system", "/ui/new"]) {
    const times = [];
    let bytes = 0;
    for (let look = 0; look < LOOKS; look += 1) {
      const at = performance.now();
      const answer = await fetch(world.url + path, { headers: { cookie } });
      bytes = (await answer.text()).length;
      if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
      times.push(performance.now() - at);
    }
    times.sort((a, b) => a - b);
    const of = (share) => times[Math.floor((times.length - 1) * share)].toFixed(1);
    console.log(`${path.padEnd(26)} half of them within ${of(0.5)} ms, 95 of 100 within ${of(0.95)} ms, all within ${of(1)} ms; ${bytes} bytes`);
  }
} finally {
  await world.end();
}
