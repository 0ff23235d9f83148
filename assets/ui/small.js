// Small comforts. All of them do what the page does without them, with fewer steps.

// navigator.clipboard is not there on plain http, which is what a tailnet name is.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  const place = document.getElementById("announce");
  if (place) place.textContent = "Copied";
}

function ask(question, then) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", question);
  const text = document.createElement("p");
  text.textContent = question;
  const acts = document.createElement("div");
  acts.className = "acts";
  const [no, yes] = ["Back", "Yes"].map((word) => Object.assign(document.createElement("button"), { type: "button", textContent: word }));
  yes.className = "primary";
  acts.append(no, yes);
  dialog.append(text, acts);
  no.addEventListener("click", () => dialog.close());
  yes.addEventListener("click", () => { dialog.close(); then(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  yes.focus();
}

const asked = new WeakSet();
addEventListener("submit", (event) => {
  const button = event.submitter;
  const question = button?.dataset.ask;
  if (question && !asked.has(button)) {
    event.preventDefault();
    return ask(question, () => {
      // meanwhile the page may have changed: the answer is to this question
      if (!button.isConnected || button.dataset.ask !== question) return;
      asked.add(button);
      event.target.requestSubmit(button);
    });
  }
  asked.delete(button);
  if (event.target.method === "post" && !event.defaultPrevented) {
    // a second click is no second wish
    if (event.target.dataset.sent && Date.now() - Number(event.target.dataset.sent) < 3000) return event.preventDefault();
    event.target.dataset.sent = Date.now();
    button?.setAttribute("aria-busy", "true");
  }
});

addEventListener("click", (event) => {
  const copier = event.target.closest?.("[data-copy]");
  if (copier) copy(copier.dataset.copy);
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

function reveal() {
  for (const hidden of document.querySelectorAll("[data-copy][hidden], .tick-all[hidden]")) hidden.hidden = false;
  showChosen();
}

// Ticks: all at once, ranges with shift, and how many there are.
let lastTick = null;
const ticks = () => [...document.querySelectorAll('#bulk input[name="job"]')];

function showChosen() {
  const place = document.querySelector(".bulk .chosen");
  if (!place) return;
  const count = ticks().filter((tick) => tick.checked).length;
  set(place, count ? `${count} ticked` : "");
  for (const button of document.querySelectorAll(".bulk button")) button.disabled = count === 0;
}

document.getElementById("bulk")?.addEventListener("click", (event) => {
  const tick = event.target.closest('input[type="checkbox"]');
  if (!tick) return;
  const all = ticks();
  if (tick.matches("[data-tick-all]")) all.forEach((one) => { one.checked = tick.checked; });
  else if (event.shiftKey && lastTick) {
    const [a, b] = [all.indexOf(lastTick), all.indexOf(tick)].sort((x, y) => x - y);
    all.slice(Math.max(a, 0), b + 1).forEach((one) => { one.checked = tick.checked; });
  }
  if (tick.name === "job") lastTick = tick;
  showChosen();
});

// What was just done is said once: the address forgets it, the page a little later.
const here = new URL(location.href);
if (here.searchParams.has("said")) {
  here.searchParams.delete("said");
  history.replaceState(null, "", here);
  setTimeout(() => document.getElementById("said")?.remove(), 8000);
}

// Back from another page: as it is now, not as it was.
addEventListener("pageshow", (event) => { if (event.persisted) { refreshSoon(0); listen(); } });

reveal();
onRefresh.push(reveal);
