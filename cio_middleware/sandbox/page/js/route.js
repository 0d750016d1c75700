/**
 * Where the page is, in the part of its address after #: every state is a link.
 * @module
 */

export const VIEWS = ["events", "people", "problems", "faults", "differences"];

/** @typedef {{view: string, key: string|null, q: string}} Place */

/** @returns {Place} */
export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view, ...rest] = path.split("/");
  const key = rest.length ? decode(rest.join("/")) : null;
  return { view: VIEWS.includes(view) ? view : "events", key: key || null, q: new URLSearchParams(query ?? "").get("q") ?? "" };
}

/**
 * @param {string} view
 * @param {string|number|null} [key]
 * @param {string} [q]
 * @returns {string}
 */
export function to(view, key = null, q = "") {
  const tail = q ? `?${new URLSearchParams({ q })}` : "";
  return `#/${view}${key === null ? "" : `/${encodeURIComponent(key)}`}${tail}`;
}

/** @param {string} address @param {{replace?: boolean}} [how] */
export function go(address, { replace = false } = {}) {
  if (address === location.hash) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** A term for the filter box; what holds a space stands in quotes. @param {string} key @param {string|number} value */
export const term = (key, value) => (/[\s"]/.test(String(value)) ? `${key}:"${String(value).replace(/(["\\])/g, "\\$1")}"` : `${key}:${value}`);

/** Add a term to a filter, once. @param {string} q @param {string} more */
export const plus = (q, more) => (q.includes(more) ? q : `${q} ${more}`.trim());

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
