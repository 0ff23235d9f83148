// Single keys. Never in a field or with a modifier, and they can be switched off (WCAG 2.1.4).
const KEYS_OFF = "offshoot-keys-off";
let lead = "";
let atJob = null; // the number of the job that j and k have come to

const rows = () => [...document.querySelectorAll("li.row[data-job]")];

let focusedJob = null; // the number of the job whose row has the focus, or had it before the row was made anew

addEventListener("focusin", ({ target }) => { focusedJob = target.closest?.("li.row[data-job]")?.dataset.job ?? null; });
addEventListener("pointerdown", () => { focusedJob = null; });

function showAt() {
  for (const row of rows()) row.classList.toggle("at", row.dataset.job === atJob);
  if (atJob && focusedJob === atJob && document.activeElement === document.body) current()?.querySelector("a.name").focus({ preventScroll: true });
}

function move(step) {
  const all = rows();
  if (!all.length) return;
  const now = all.findIndex((row) => row.dataset.job === atJob);
  const next = all[Math.min(all.length - 1, Math.max(0, now < 0 ? 0 : now + step))];
  atJob = next.dataset.job;
  showAt();
  const name = next.querySelector("a.name");
  name.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest", behavior: "instant" });
}

const current = () => rows().find((row) => row.dataset.job === atJob);
const press = (selector) => document.querySelector(selector)?.click();

// on a page of changes: from the file that has the focus, else from the one at the upper edge
function toFile(step) {
  const files = [...document.querySelectorAll("section.file")];
  let at = files.findIndex((file) => file.contains(document.activeElement));
  if (at < 0) at = files.findLastIndex((file) => file.getBoundingClientRect().top < 100);
  const next = files[Math.max(0, at + step)];
  if (!next) return;
  next.scrollIntoView({ block: "start", behavior: "instant" });
  next.querySelector("h2 a").focus({ preventScroll: true });
}

const CHORDS = { q: "/ui/", j: "/ui/jobs", r: "/ui/clients", s: "/ui/system" };
const KEYS = {
  "?": () => document.getElementById("help")?.showModal(),
  "/": () => (document.getElementById("q") ?? document.getElementById("find"))?.focus(),
  j: () => move(1),
  k: () => move(-1),
  o: () => current()?.querySelector("a.name").click(),
  x: () => current()?.querySelector(".tick input")?.click(),
  f: () => { if (pill && !pill.hidden) follow(!isFollowing, true); },
  e: () => press("[data-fold-all]"),
  c: () => { if (!draft) press('[data-key="c"]'); },
  r: () => press('[data-key="r"]'),
  s: () => press('[data-key="s"]'),
  n: () => { if (log) toFound(1); else toFile(1); },
  p: () => { if (log) toFound(-1); else toFile(-1); },
  y: () => copy(location.href),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape" && event.target.matches?.("input")) return event.target.blur();
  if (event.target.closest?.("input, textarea, select, [contenteditable], dialog")) return;
  if (localStorage.getItem(KEYS_OFF)) return;
  const [first, key] = [lead, event.key];
  lead = "";
  if (first === "g" && CHORDS[key]) return location.assign(CHORDS[key]);
  if (key === "g") return void (lead = "g");
  if (!Object.hasOwn(KEYS, key)) return;
  event.preventDefault();
  KEYS[key]();
});

onRefresh.push(showAt);
const keySwitch = document.querySelector("[data-keys]");
if (keySwitch) {
  keySwitch.checked = !localStorage.getItem(KEYS_OFF);
  keySwitch.addEventListener("change", () => {
    if (keySwitch.checked) localStorage.removeItem(KEYS_OFF);
    else localStorage.setItem(KEYS_OFF, "yes");
  });
}

