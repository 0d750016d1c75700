/**
 * Copying, and the short notes that say so.
 * @module
 */

import { button, byId, el, fill } from "./dom.js";

const STAYS_MS = 4000;

/**
 * A note at the foot of the page.
 * @param {string} text
 * @param {{action?: string, act?: () => void, ms?: number}} [options]
 * @returns {() => void} takes it away
 */
export function toast(text, { action, act, ms = STAYS_MS } = {}) {
  const note = el("div", { class: "toast", role: "status" }, el("span", {}, text));
  const away = () => note.remove();
  if (action && act) {
    note.append(button(action, () => {
      away();
      act();
    }));
  }
  byId("toasts").replaceChildren(note);
  setTimeout(away, ms);
  return away;
}

/** @param {string} text @param {string} what */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`Copied ${what}`);
  } catch {
    show(what, [el("pre", { class: "payload", tabindex: 0 }, text)]);
  }
}

/**
 * A dialog with a heading and a way out.
 * @param {string} heading
 * @param {import("./dom.js").Child[]} content
 */
export function show(heading, content) {
  const dialog = byId("dialog");
  fill(dialog, el("h2", { id: "dialog-h" }, heading), content, el("div", { class: "end" }, button("Close", () => dialog.close())));
  if (!dialog.open) dialog.showModal();
}
