// The server hints that something has changed; the page is asked for again and morphed. A hint may be lost: a look every
// quarter of a minute makes up for it. Browsers have six connections for each host: a page that nobody sees keeps none, and
// of those that are seen the newest ones, the others look more often.
const main = document.getElementById("main");
const LOOK_MS = 15_000;
const CROWDED_LOOK_MS = 5_000;
const STREAMS_MAX = 3;
const MOVED_MS = 60; // what happens together is shown together
const ANSWER_MS = 30_000; // of a page: a server that hangs is asked again
const TOLD_MS = 900; // an agent that talks changes one line of the page
let clockAhead = 0; // of the server, against this machine
let source = null;
const newerPages = new Set(); // that have opened a stream since this one did, and have it still
const me = `${performance.timeOrigin}-${Math.random()}`;
let lookedAt = Date.now();
const pages = new BroadcastChannel("offshoot-streams");
let timer = 0;
let due = 0;
let isLooking = false;
const onRefresh = [];
const onHint = [];

function refreshSoon(ms) {
  const at = Date.now() + ms;
  if (timer && at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(refresh, ms);
}

async function refresh() {
  timer = 0;
  if (isLooking) return refreshSoon(MOVED_MS);
  isLooking = true;
  try {
    const answer = await fetch(location.pathname + location.search, { headers: { "offshoot-part": "1" }, cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    if (answer.status === 401 || answer.status === 404) return location.reload();
    if (answer.ok) {
      const shown = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      if (shown) {
        morph(main, shown);
        onRefresh.forEach((then) => then());
      }
    }
  } catch {
    // no server at the moment: the next look finds it
  } finally {
    isLooking = false;
  }
}

function listen() {
  const topic = main?.dataset.live;
  if (source || !topic || document.hidden || newerPages.size >= STREAMS_MAX) return;
  newerPages.clear();
  pages.postMessage({ page: me, isOpen: true });
  const path = topic === "all" ? "/ui/events" : `/ui/jobs/${topic}/events`;
  source = new EventSource(`${path}?after=latest`);
  // whatever happened before that
  source.addEventListener("open", look);
  source.addEventListener("hint", (hint) => {
    refreshSoon(JSON.parse(hint.data).moved ? MOVED_MS : TOLD_MS);
    onHint.forEach((then) => then());
  });
  source.addEventListener("done", () => { unlisten(); look(); });
  source.addEventListener("error", () => { if (source?.readyState === EventSource.CLOSED) unlisten(); });
}

// As if there had been a hint.
function look() {
  lookedAt = Date.now();
  refreshSoon(0);
  onHint.forEach((then) => then());
}

function unlisten() {
  if (source) pages.postMessage({ page: me, isOpen: false });
  source?.close();
  source = null;
}

if (main?.dataset.live) {
  listen();
  setInterval(() => {
    if (document.hidden || !main.dataset.live) return;
    listen();
    if (Date.now() - lookedAt >= (source ? LOOK_MS : CROWDED_LOOK_MS)) look();
  }, CROWDED_LOOK_MS);
  pages.addEventListener("message", ({ data: { page, isOpen } }) => {
    if (isOpen) newerPages.add(page);
    else newerPages.delete(page);
    if (newerPages.size >= STREAMS_MAX) unlisten();
  });
  const isLookedAt = () => {
    newerPages.clear();
    if (!source) look();
    listen();
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? unlisten() : isLookedAt()));
  addEventListener("focus", isLookedAt);
  addEventListener("pagehide", unlisten);
}

onRefresh.push(() => { if (main.dataset.title) document.title = `${main.dataset.title} · offshoot`; });

