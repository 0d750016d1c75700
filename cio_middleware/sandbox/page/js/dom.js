/**
 * Build the document, from text alone: what came from outside is never markup, and never hides.
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";
// Controls, half surrogates, zero-width and bidirectional marks: shown by number, so that text reads as it is stored.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** @typedef {Node|string|number|null|undefined|false|Child[]} Child */

/**
 * Text in which nothing is invisible.
 * @param {unknown} text
 * @returns {string}
 */
export function clean(text) {
  return String(text).replace(HIDDEN, (char) => `⟨U+${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/**
 * Text of at most so many characters.
 * @param {unknown} text
 * @param {number} most
 */
export function cut(text, most = 200) {
  const whole = String(text);
  return whole.length > most ? `${whole.slice(0, most - 1)}…` : whole;
}

/**
 * An element. A property that starts with "on" is a listener, one that starts with "." is a property of the object.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...Child} children
 * @returns {any}
 */
export function el(tag, props = {}, ...children) {
  return dress(document.createElement(tag), props, children);
}

/**
 * The same, in SVG.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...Child} children
 * @returns {any}
 */
export function svg(tag, props = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), props, children);
}

/**
 * Put other children in the place of those that a node has.
 * @param {Element} node
 * @param {...Child} children
 */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
}

/**
 * The shape of a verdict; its word stands beside it, for those who do not see it.
 * @param {string} verdict
 * @param {string} tone
 */
export function glyph(verdict, tone) {
  return svg("svg", { class: `g ${tone}`, "aria-hidden": "true", "data-verdict": verdict }, svg("use", { href: `#g-${verdict}` }));
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** @param {Child} text */
export const hidden = (text) => el("span", { class: "sr" }, text);

/** @param {string} label @param {() => void} act @param {Record<string, any>} [props] */
export const button = (label, act, props = {}) => el("button", { type: "button", class: "button", onclick: act, ...props }, label);

function dress(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith(".")) node[name.slice(1)] = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, clean(value));
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(clean(child)));
  }
}
