// Times that stay true: ages and stretches count on, times of the day are those of the reader.
const SILENT_S = 60;
const dayClock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const otherDay = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const withSeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const two = (number) => String(number).padStart(2, "0");

function stretch(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function age(seconds) {
  if (seconds < 60) return `${seconds}s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ago`;
  return `${Math.floor(seconds / 86400)}d ago`;
}

const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };

function secondsSince(text) {
  return Math.max(0, Math.floor((Date.now() + clockAhead - Date.parse(text)) / 1000));
}

function tick() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const seconds = secondsSince(time.dateTime);
    set(time, age(seconds));
    time.closest(".heard")?.classList.toggle("silent", seconds >= SILENT_S);
  }
  for (const time of document.querySelectorAll("time[data-since]")) {
    set(time, stretch(secondsSince(time.dataset.since)));
  }
}

function localise(root = document) {
  for (const time of root.querySelectorAll("time[data-clock]:not([data-local])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const isToday = at.toDateString() === new Date().toDateString();
    const format = time.dataset.clock === "seconds" ? withSeconds : isToday ? dayClock : otherDay;
    set(time, format.format(at));
    time.title = whole.format(at);
    time.dataset.local = "";
  }
  for (const time of root.querySelectorAll("time[data-ago]")) time.title = whole.format(new Date(time.dateTime));
}

function keepTime() {
  const said = Number(main?.dataset.now);
  if (said) clockAhead = said - Date.now();
  localise();
  tick();
}

keepTime();
onRefresh.push(keepTime);
setInterval(tick, 1000);

