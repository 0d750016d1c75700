/**
 * Keys, shapes, and the switch that turns the keys off.
 * @module
 */

import { button, el, glyph } from "./dom.js";
import { KEYS, keysOff, setKeysOff } from "./keys.js";
import { show } from "./share.js";
import { VERDICTS, toneClass } from "./words.js";

const MEANS = {
  accepted: "stored", accepted_but: "stored, and Customer.io will do less than you hope", rejected: "refused with 4xx, or listed in a 207",
  fault: "an injected fault answered", duplicate: "seen before: stored once", ignored: "answered with success, and not applied", never_sent: "your app dropped it before it left",
};

export function help() {
  const off = el("input", { type: "checkbox", id: "keys-off", ".checked": keysOff(), onchange: () => setKeysOff(off.checked) });
  show("Keys and shapes", [
    el("dl", { class: "keys" }, KEYS.map(([keys, what]) => [el("dt", {}, el("kbd", {}, keys)), el("dd", {}, what)])),
    el("p", { class: "check" }, off, el("label", { for: "keys-off" }, " Turn single keys off")),
    el("h3", {}, "Shapes"),
    el("dl", { class: "keys" }, Object.entries(VERDICTS).map(([verdict, { word, tone }]) => [el("dt", {}, glyph(verdict, toneClass(tone)), ` ${word}`), el("dd", {}, MEANS[verdict])])),
    el("p", { class: "check" }, button("Change the theme", () => globalThis.cioTheme())),
    el("p", { class: "check" }, el("a", { href: "#/differences" }, "Differences from the real API")),
  ]);
}
