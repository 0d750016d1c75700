/**
 * Single keys; none acts inside a field, and all can be turned off.
 * @module
 */

const OFF = "cio-keys-off";

export const KEYS = [
  ["j k or ↓ ↑", "next, previous event"], ["Enter", "open"], ["Esc", "close"], ["/", "filter"], ["g then e p r f", "go to events, people, problems, faults"],
  ["p", "problems only"], ["f", "filter by the focused value"], ["Space", "pause, resume"], ["c", "copy menu of the open event"], ["x", "clear"], ["u", "undo"],
  ["1–6", "pull a lever, or put it back"], ["0", "put all faults back"], ["t", "theme"], ["?", "this help"],
];

export const keysOff = () => localStorage.getItem(OFF) === "1";
/** @param {boolean} off */
export const setKeysOff = (off) => (off ? localStorage.setItem(OFF, "1") : localStorage.removeItem(OFF));

/**
 * @param {Record<string, (event: KeyboardEvent) => void>} acts by key; those of two keys are written "g e"
 */
export function listen(acts) {
  let first = "";
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const writing = target.closest("input, select, textarea, [contenteditable]");
    if (writing || document.querySelector("dialog[open]")) return;
    const pressable = target.closest("button, a, [role=slider], [role=separator], [role=tab]");
    if ([" ", "Enter"].includes(event.key) && pressable) return;
    if (event.key.startsWith("Arrow") && target.closest("[role=slider], [role=separator], [role=tab], pre")) return;
    if (keysOff() && !["Escape", "ArrowDown", "ArrowUp"].includes(event.key)) return;
    const act = acts[first ? `${first} ${event.key}` : event.key];
    first = event.key === "g" && !first ? "g" : "";
    if (!act) return;
    event.preventDefault();
    act(event);
  });
}
