/**
 * What an identify changed: each attribute before and after, as the person's history has it.
 * @module
 */

import * as api from "./api.js";
import { cut, el } from "./dom.js";

/**
 * @param {any} event an identify
 * @returns {Promise<HTMLElement>}
 */
export async function changes(event) {
  const person = await api.person(event.person).catch(() => null);
  const lines = Object.entries(person?.history ?? {}).flatMap(([name, past]) => change(name, past, event.seq));
  const says = person ? "Nothing: every attribute was so before." : "The person is not here any more.";
  if (!lines.length) return el("p", { class: "muted" }, says);
  return el("ul", { class: "payload changes", tabindex: 0, "aria-label": "Payload, changes" }, lines);
}

function change(name, past, seq) {
  const place = past.findLastIndex((each) => each.seq === seq);
  if (place < 0) return [];
  const before = place ? past[place - 1].value : null;
  return [before === null ? null : line("-", "was", name, before), past[place].value === null ? null : line("+", "is", name, past[place].value)].filter(Boolean);
}

const line = (sign, word, name, value) => el("li", { class: sign === "+" ? "is-new" : "is-old" }, el("span", { "aria-hidden": "true" }, `${sign} `), el("span", { class: "sr" }, `${word} `), el("b", {}, cut(name, 150)), ": ", cut(JSON.stringify(value), 300));
