/**
 * What verdicts, kinds, times and sizes are called on this page.
 * @module
 */

/** @type {Record<string, {word: string, tone: string}>} */
export const VERDICTS = {
  accepted: { word: "accepted", tone: "ok" },
  accepted_but: { word: "accepted, but", tone: "warn" },
  rejected: { word: "rejected", tone: "bad" },
  fault: { word: "injected fault", tone: "fault" },
  duplicate: { word: "duplicate", tone: "quiet" },
  ignored: { word: "ignored", tone: "quiet" },
  never_sent: { word: "never sent", tone: "quiet" },
};

const STAMPS = {
  identify: ["ID", "identify"], identify_anonymous: ["ID", "identify"], event: ["EV", "event"], page: ["PG", "page"], screen: ["SC", "screen"],
  add_device: ["DV", "device"], delete_device: ["DV", "device"], add_relationships: ["RL", "relationship"],
  delete_relationships: ["RL", "relationship"], suppress: ["SP", "suppress"], unsuppress: ["SP", "unsuppress"], merge: ["MG", "merge"],
  delete: ["DL", "delete"], metric: ["MT", "metric"], submit: ["FM", "form"],
};
const WORDS = { add_device: "device", delete_device: "device gone", add_relationships: "relationship", delete_relationships: "relationship gone" };

/** @param {string} verdict */
export const verdictOf = (verdict) => VERDICTS[verdict] ?? { word: verdict, tone: "quiet" };

/** The class of a tone. @param {string} tone */
export const toneClass = (tone) => (tone === "quiet" ? "quiet-tone" : tone);

/**
 * Two letters for a kind, and the word for them.
 * @param {{kind: string, subject: string}} row
 * @returns {string[]}
 */
export function stampOf(row) {
  if (row.subject === "object") return ["OB", "object"];
  if (row.subject === "segment") return ["SG", "segment"];
  if (row.subject === "request") return ["RQ", "request"];
  return STAMPS[row.kind] ?? [(row.kind || "??").slice(0, 2).toUpperCase(), row.kind || "unknown"];
}

/**
 * What a row is called: its name, or what it does.
 * @param {any} row
 * @returns {string}
 */
export function nameOf(row) {
  if (row.name) return row.name;
  if (row.subject === "object") return ["object", row.identifiers?.object_type_id, row.identifiers?.object_id].filter(Boolean).join(" ");
  const device = row.data?.platform ?? row.device?.platform;
  return [WORDS[row.kind] ?? (row.kind || row.subject || "unknown"), device].filter(Boolean).join(" ");
}

/** @param {number|null|undefined} at Unix seconds @param {number} digits @returns {string} hours to milliseconds, here */
export function clock(at, digits = 3) {
  if (typeof at !== "number") return "—";
  const when = new Date(at * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
  return digits ? `${time}.${String(Math.floor((at % 1) * 1000)).padStart(3, "0").slice(0, digits)}` : time;
}

/** @param {number|null|undefined} ms @returns {string} */
export function took(ms) {
  if (typeof ms !== "number") return "—";
  if (ms < 1) return "< 1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60000)} min`;
}

/** @param {number} at Unix seconds @returns {string} */
export function ago(at) {
  const seconds = Math.max(0, Date.now() / 1000 - at);
  if (seconds < 5) return "just now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

/** With a capital at its beginning, unless it begins with the name of a field. @param {unknown} text @returns {string} */
export function capital(text) {
  const whole = String(text ?? "");
  return /^[a-z][a-z' ]/.test(whole) && !/^\w*[_.]/.test(whole) ? whole.charAt(0).toUpperCase() + whole.slice(1) : whole;
}

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/**
 * The outcome of each attempt as verdicts, the last one the row's own.
 * @param {any} row
 * @returns {string[]}
 */
export function outcomes(row) {
  const tries = row.attempts_log ?? (row.statuses ?? []).map((status) => ({ status, fault: typeof status === "string" ? status : null }));
  if (!tries.length) return [row.verdict];
  return tries.map((attempt, index) => (index === tries.length - 1 ? row.verdict : outcomeOf(attempt)));
}

/** @param {any} attempt */
export function outcomeOf(attempt) {
  const broke = attempt.fault && !["latency", "partial", "slow"].includes(attempt.fault);
  if (broke || typeof attempt.status !== "number" || attempt.status >= 429) return "fault";
  return attempt.status >= 400 ? "rejected" : "accepted";
}

const PHRASES = {
  200: "OK", 204: "No Content", 207: "Multi-Status", 301: "Moved Permanently", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized",
  403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 413: "Content Too Large", 429: "Too Many Requests",
  500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
};
const FAULTS = {
  hang: "No answer: held until the client gave up", reset: "Connection reset", ack_lost: "Stored, then the connection was cut", garbage: "Not Customer.io's answer",
  blackhole: "200 OK, and lost",
};

/** @param {any} attempt @returns {string} */
export function answerOf(attempt) {
  if (typeof attempt.status === "number") return `${attempt.status} ${PHRASES[attempt.status] ?? ""}`.trim();
  return FAULTS[attempt.fault] ?? (attempt.fault ? `No answer: ${attempt.fault}` : "No answer");
}
