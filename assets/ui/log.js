// The log of a job: new lines come by themselves, the reader is never moved against his will, and every line has an address.
const log = document.getElementById("log");
const FOLLOW_KEY = "offshoot-follow";
const ANNOUNCE_MS = 10_000;
const MARKED_MAX = 5_000;
let isFollowing = false;
let isFetching = false;
let isHinted = false;
let unseenLines = 0;
let announcedAt = 0;
let endAt = 0; // how far down the page was scrolled to follow
const pill = document.querySelector("[data-follow]");

function follow(on, byReader = false) {
  isFollowing = on;
  if (byReader) localStorage.setItem(FOLLOW_KEY, on ? "yes" : "no");
  if (on) unseenLines = 0;
  showPill();
  if (on) toEnd();
}

function showPill() {
  if (!pill) return;
  pill.hidden = log.dataset.live !== "yes";
  pill.setAttribute("aria-pressed", String(isFollowing));
  pill.textContent = isFollowing ? "Following" : unseenLines ? `${unseenLines} new ${unseenLines === 1 ? "line" : "lines"}` : "Follow";
}

// no smooth scrolling: it lags behind what comes in
function toEnd() {
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  endAt = scrollY;
}

function takeIn(lines) {
  let count = 0;
  for (const line of [...lines.children]) {
    // an agent that is started again may number its uses anew
    const use = line.dataset.resultOf && [...log.querySelectorAll(`details[data-tool="${CSS.escape(line.dataset.resultOf)}"]`)].at(-1);
    if (use) {
      const outcome = line.querySelector(".outcome");
      const came = line.querySelector(".came");
      if (outcome) use.querySelector(":scope > summary > .outcome")?.replaceWith(outcome);
      if (came) {
        came.id = line.id;
        use.append(came);
      }
      if (outcome?.classList.contains("bad")) use.open = true;
    } else {
      log.append(line);
      count += 1;
    }
  }
  localise(log);
  return count;
}

async function fetchLines() {
  if (isFetching) return void (isHinted = true);
  isFetching = true;
  try {
    do {
      isHinted = false;
      const answer = await fetch(`/ui/jobs/${log.dataset.job}/lines?behind=${log.dataset.upto}`, { headers: { "offshoot-part": "1" }, cache: "no-store" });
      if (!answer.ok) return;
      const lines = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("ol");
      const hasCome = lines.children.length > 0;
      const count = takeIn(lines);
      log.dataset.upto = lines.dataset.upto;
      if (!("whole" in lines.dataset)) isHinted = true;
      if (hasCome) arrived(count);
    } while (isHinted);
  } catch {
    // the stream comes again, and hints anew
  } finally {
    isFetching = false;
  }
}

function arrived(count) {
  document.querySelector("#log-section > .none")?.remove();
  if (isFollowing) toEnd();
  else unseenLines += count;
  showPill();
  if (count && Date.now() - announcedAt > ANNOUNCE_MS) {
    announcedAt = Date.now();
    document.getElementById("announce").textContent = `${count} new log ${count === 1 ? "line" : "lines"}`;
  }
}

// #L12 or #L12-L20
function linesOfHash() {
  const found = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash);
  if (!found) return [];
  const first = Number(found[1]);
  const last = Math.min(Number(found[2] ?? first), first + MARKED_MAX - 1);
  const lines = [];
  for (let at = first; at <= last; at += 1) {
    const line = document.getElementById(`L${at}`);
    if (line) lines.push(line);
  }
  return lines;
}

function openUp(node) {
  for (let at = node; at && at !== log; at = at.parentElement) if (at.nodeName === "DETAILS") at.open = true;
  if (node.nodeName === "LI") node.querySelector(":scope > details")?.setAttribute("open", "");
}

function goToHash() {
  log.querySelectorAll(".marked").forEach((line) => line.classList.remove("marked"));
  const lines = linesOfHash();
  if (!lines.length) return;
  follow(false);
  lines.forEach((line) => { openUp(line); line.classList.add("marked"); });
  lines[0].scrollIntoView({ block: "center", behavior: "instant" });
}

function foldAll(button) {
  const all = [...log.querySelectorAll("details.tool, details.fold")];
  const open = all.some((one) => !one.open);
  all.forEach((one) => { one.open = open; });
  button.textContent = open ? "Close all" : "Open all";
}

// Finds in what is folded too, which the browser's own search does not open everywhere.
const find = { lines: [], at: -1 };

function search(text) {
  const wanted = text.trim().toLowerCase();
  find.lines = wanted ? [...log.children].filter((line) => line.textContent.toLowerCase().includes(wanted)) : [];
  find.at = -1;
  if (globalThis.Highlight && CSS.highlights) {
    const ranges = find.lines.slice(0, 500).flatMap((line) => rangesOf(line, wanted));
    CSS.highlights.set("found", new Highlight(...ranges));
  }
  showFound();
}

function rangesOf(line, wanted) {
  const ranges = [];
  const texts = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.toLowerCase();
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      const range = new Range();
      range.setStart(texts.currentNode, at);
      range.setEnd(texts.currentNode, at + wanted.length);
      ranges.push(range);
    }
  }
  return ranges;
}

function toFound(step) {
  if (!find.lines.length) return;
  find.lines[find.at]?.classList.remove("marked");
  find.at = (find.at + step + find.lines.length) % find.lines.length;
  const line = find.lines[find.at];
  openUp(line);
  line.classList.add("marked");
  follow(false);
  line.scrollIntoView({ block: "center", behavior: "instant" });
  showFound();
}

function showFound() {
  const field = document.querySelector("[data-log-find] input");
  const text = !field.value.trim() ? "" : `${find.at + 1}/${find.lines.length}`;
  document.querySelector("[data-log-find] .found").textContent = text;
}

if (log) {
  const fold = document.querySelector("[data-fold-all]");
  const finder = document.querySelector("[data-log-find]");
  fold.hidden = finder.hidden = false;
  fold.addEventListener("click", () => foldAll(fold));
  finder.addEventListener("input", (event) => search(event.target.value));
  finder.addEventListener("submit", (event) => { event.preventDefault(); toFound(1); });
  finder.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) { event.preventDefault(); toFound(-1); }
  });
  log.addEventListener("click", (event) => {
    const number = event.target.closest?.("a.n[href]");
    if (!number) return;
    event.preventDefault();
    const from = /^#L(\d+)/.exec(location.hash);
    const [a, b] = [Number(from?.[1]), Number(number.textContent)];
    const hash = event.shiftKey && a ? `#L${Math.min(a, b)}-L${Math.max(a, b)}` : `#L${b}`;
    history.replaceState(null, "", hash);
    goToHash();
  });
  addEventListener("hashchange", goToHash);
  pill?.addEventListener("click", () => follow(!isFollowing, true));
  // whoever goes up, or picks something out, reads: only that turns it off
  const reads = () => { if (isFollowing) follow(false); };
  // a page that got shorter has gone up by itself, and is at its end
  addEventListener("scroll", () => {
    const isAtEnd = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    if (scrollY < endAt && !isAtEnd) reads();
  }, { passive: true });
  document.addEventListener("selectionchange", () => {
    const selection = getSelection();
    if (!selection.isCollapsed && log.contains(selection.anchorNode)) reads();
  });
  onHint.push(() => { if (log.dataset.live === "yes") fetchLines(); });
  onRefresh.push(() => {
    if (!main.dataset.live && log.dataset.live === "yes") {
      fetchLines();
      log.dataset.live = "no";
      follow(false);
    }
  });
  if (location.hash) goToHash();
  else if (log.dataset.live === "yes") follow(localStorage.getItem(FOLLOW_KEY) !== "no");
  showPill();
}

