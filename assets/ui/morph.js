// Makes what is shown equal to what the server shows now, and touches nothing that is equal already: focus, scrolling,
// selection and what somebody has opened stay. Elements are known by their id, forms by what they do, others by their place.
//   data-still: is left alone, whatever the server says.   data-stays: is not removed.
// `open` of details and what was typed or ticked belong to the reader.
const KEPT = new Set(["open", "hidden", "data-sent", "aria-busy"]);

function morph(old, now) {
  if (old.nodeType === Node.TEXT_NODE || old.nodeType === Node.COMMENT_NODE) {
    if (old.data !== now.data) old.data = now.data;
    return;
  }
  if (old.hasAttribute("data-still")) return;
  morphAttributes(old, now);
  if (old === document.activeElement && /^(INPUT|TEXTAREA|SELECT)$/.test(old.nodeName)) return;
  morphChildren(old, now);
}

function morphAttributes(old, now) {
  for (const { name, value } of [...now.attributes]) {
    if (!KEPT.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!KEPT.has(name) && !now.hasAttribute(name)) old.removeAttribute(name);
  }
}

function morphChildren(old, now) {
  const byId = new Map([...old.children].filter((one) => one.id).map((one) => [one.id, one]));
  const wanted = new Set([...now.children].map((one) => one.id).filter(Boolean));
  // a button that becomes another one under the hand that presses it does what nobody wanted
  const does = (node) => (node.nodeName === "FORM" ? node.getAttribute("action") : null);
  const isSame = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && !a.id && !b.id && does(a) === does(b);
  const stays = (node) => node.nodeType === Node.ELEMENT_NODE && node.hasAttribute("data-stays");
  let at = old.firstChild;
  for (const next of [...now.childNodes]) {
    while (at && (stays(at) || (at.id && !wanted.has(at.id)))) {
      const gone = at;
      at = at.nextSibling;
      if (!stays(gone)) gone.remove();
    }
    const found = next.id ? byId.get(next.id) : at && isSame(at, next) ? at : null;
    if (!found || found.nodeName !== next.nodeName) {
      old.insertBefore(document.importNode(next, true), at);
    } else if (found === at) {
      at = at.nextSibling;
      morph(found, next);
    } else {
      old.insertBefore(found, at);
      morph(found, next);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    if (!stays(gone)) gone.remove();
  }
}

