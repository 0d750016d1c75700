/**
 * The payload, as the server wrote it out: never parsed here, because a browser's numbers end at 2**53.
 * @module
 */

import { el } from "./dom.js";
import { term } from "./route.js";

const LARGE = 256 * 1024;
const COLOURED = 64 * 1024;
const LINE = /^(\s*)("(?:[^"\\]|\\.)*")(:\s)(.*?)(,?)$/;
const SCALAR = /^(?:"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null)$/;
const ROOTS = { attributes: ["data", "attr"], data: ["data", "data"], properties: ["data", "data"], traits: ["attr", "attr"] };

/**
 * @param {string} text already formatted
 * @param {{event: boolean, filter: (term: string) => void, label: string}} options
 * @returns {HTMLElement}
 */
export function payload(text, { event, filter, label }) {
  const view = el("pre", { class: "payload", tabindex: 0, "aria-label": label });
  const show = () => view.replaceChildren(...lines(text, event, filter));
  if (text.length <= LARGE) show();
  else {
    const size = `${Math.round(text.length / 1024)} kB`;
    view.append(el("button", { type: "button", class: "button", onclick: show }, `Show ${size}`));
  }
  return view;
}

function lines(text, event, filter) {
  if (text.length > COLOURED) return [el("code", {}, text)];
  const path = [];
  return text.split("\n").flatMap((line, index) => [index ? document.createTextNode("\n") : null, ...parts(line, path, event, filter)]).filter(Boolean);
}

function parts(line, path, event, filter) {
  const found = LINE.exec(line);
  if (!found) return [el("span", {}, line)];
  const [, indent, key, colon, value, comma] = found;
  path.length = indent.length / 2 - 1;
  path.push(JSON.parse(key));
  const word = SCALAR.test(value) ? suggestion(path, value, event) : null;
  const shown = word ? el("button", { type: "button", class: "value", title: `Filter by ${word}`, onclick: () => filter(word) }, value) : el("span", {}, value);
  return [document.createTextNode(indent), el("b", {}, key), el("span", {}, colon), shown, el("span", {}, comma)];
}

function suggestion(path, value, event) {
  const root = ROOTS[path[0]];
  if (!root || path.length < 2 || /[^\w.-]/.test(path.slice(1).join("."))) return null;
  const plain = value.startsWith('"') ? JSON.parse(value) : value;
  return plain === "" || plain.length > 80 ? null : term(`${event ? root[0] : root[1]}.${path.slice(1).join(".")}`, plain);
}
