// A job that is being written: the commands that would send the same change with every letter. The server makes them, as it
// does for the button that is there without this.
const draft = document.querySelector("form[data-draft]");
const TYPED_MS = 250;
let draftTimer = 0;
let isShowing = false;

async function showDraft() {
  if (isShowing) return void (draftTimer = setTimeout(showDraft, TYPED_MS));
  isShowing = true;
  try {
    const body = new URLSearchParams(new FormData(draft));
    const answer = await fetch("/ui/new/preview", { method: "POST", headers: { "offshoot-part": "1" }, body, signal: AbortSignal.timeout(ANSWER_MS) });
    if (!answer.ok) return;
    const shown = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["equivalents", "variables"]) morph(document.getElementById(id), shown.getElementById(id));
    draft.elements.prompt.required = shown.getElementById("in-prompt").required;
    reveal();
  } catch {
    // no server at the moment: the next letter asks again
  } finally {
    isShowing = false;
  }
}

if (draft) {
  // a browser gives it the focus when it next draws, and what is typed before that are keys
  if (document.activeElement === document.body && !location.hash) draft.querySelector("[autofocus]")?.focus();
  draft.querySelector("[data-preview]").hidden = true;
  draft.addEventListener("input", () => {
    clearTimeout(draftTimer);
    draftTimer = setTimeout(showDraft, TYPED_MS);
  });
  draft.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) draft.requestSubmit();
  });
}

