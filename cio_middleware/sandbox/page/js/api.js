/**
 * The sandbox's own API, and nothing else knows its addresses.
 * @module
 */

const ROOT = "/_sandbox/v1";

/** The workspace that this tab looks at; null lets the server choose. */
export const place = { workspace: new URLSearchParams(location.search).get("workspace") };

/** An answer that says no; the message says what to type. */
export class Refused extends Error {
  /** @param {number} status @param {any} answer */
  constructor(status, answer) {
    super(answer?.error?.message ?? `the sandbox answered ${status}`);
    this.status = status;
    this.problem = answer?.error ?? {};
    this.answer = answer ?? {};
  }
}

/**
 * @param {string} path
 * @param {Record<string, any>} [query]
 * @returns {string}
 */
function address(path, query = {}) {
  const given = Object.entries({ workspace: place.workspace, ...query }).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `${ROOT}${path}${text ? `?${text}` : ""}`;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{query?: Record<string, any>, body?: any}} [options]
 * @returns {Promise<any>}
 */
async function call(method, path, { query, body } = {}) {
  const headers = method === "GET" ? {} : { "X-Cio-Sandbox": "1", "Content-Type": "application/json" };
  const reply = await fetch(address(path, query), { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const answer = await reply.json().catch(() => null);
  if (!reply.ok) throw new Refused(reply.status, answer);
  return answer;
}

export const info = () => call("GET", "/info");
export const summary = () => call("GET", "/summary");
/** @param {Record<string, any>} query */
export const events = (query) => call("GET", "/events", { query });
/** @param {number} seq */
export const event = (seq) => call("GET", `/events/${seq}`);
export const people = () => call("GET", "/people", { query: { brief: 1 } });
/** @param {string} key */
export const person = (key) => call("GET", `/people/${encodeURIComponent(key)}`);
export const problems = () => call("GET", "/problems");
/** @param {number} window */
export const series = (window) => call("GET", "/series", { query: { window, step: 2 } });
export const faults = () => call("GET", "/faults");
/** Pull a lever: its rule is the server's. @param {string} id */
export const pull = (id) => call("PUT", `/faults/${encodeURIComponent(id)}`);
/** @param {any} rule */
export const addRule = (rule) => call("POST", "/faults", { body: rule });
/** @param {string} id */
export const dropRule = (id) => call("DELETE", `/faults/${encodeURIComponent(id)}`);
export const clearFaults = () => call("DELETE", "/faults");
/** @param {string[]} steps */
export const play = (steps) => call("PUT", "/faults/script", { body: { steps } });
/** @param {string} name */
export const startScenario = (name) => call("POST", `/faults/scenarios/${encodeURIComponent(name)}`);
export const scenarios = () => call("GET", "/scenarios");
export const stopScenario = () => call("DELETE", "/faults/scenarios");
export const differences = () => call("GET", "/differences");
export const clear = () => call("DELETE", "/events");
/** @param {string} token */
export const undo = (token) => call("POST", "/undo", { body: { token } });
/** @param {string|null} since */
export const streamAddress = (since) => address("/stream", { since });

/**
 * One event as an app would send it: through the emulated Customer.io, with credentials.
 * @param {string} site
 */
export async function sendTest(site) {
  const headers = { Authorization: `Basic ${btoa(`${site}:dev`)}`, "Content-Type": "application/json" };
  const item = {
    type: "person", action: "event", name: "test_event", id: ulid(), timestamp: Math.floor(Date.now() / 1000),
    identifiers: { anonymous_id: "browser" }, attributes: { sent_from: "the sandbox's page" },
  };
  await fetch("/api/v2/entity", { method: "POST", headers, body: JSON.stringify(item) });
}

function ulid() {
  const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const dice = crypto.getRandomValues(new Uint8Array(26));
  return Array.from(dice, (byte, place) => digits[place ? byte % 32 : 0]).join("");
}
