/**
 * Delivery: every attempt, what answered it, and the waits between them to scale.
 * @module
 */

import { el, glyph, hidden } from "./dom.js";
import { answerOf, clock, outcomeOf, toneClass, took, verdictOf } from "./words.js";

/**
 * @param {any} row
 * @returns {HTMLElement|null}
 */
export function timeline(row) {
  const log = row.attempts_log ?? [];
  if (row.verdict === "never_sent" || !log.length) return null;
  const longest = Math.max(0.001, ...log.slice(1).map((attempt, index) => attempt.at - log[index].at));
  return el("ol", { class: "delivery" }, log.map((attempt, index) => {
    const wait = index + 1 < log.length ? log[index + 1].at - attempt.at : null;
    return step(row, attempt, index === log.length - 1, wait, longest);
  }));
}

function step(row, attempt, last, wait, longest) {
  const outcome = last ? row.verdict : outcomeOf(attempt);
  const { word, tone } = verdictOf(outcome);
  const node = el(
    "li", { class: "try" }, glyph(outcome, toneClass(tone)), hidden(`${word}: `),
    el("p", { class: "answer" }, el("b", {}, answerOf(attempt)), ` at ${clock(attempt.at, 2)}`),
    details(attempt).map((text) => el("p", { class: "muted" }, text)),
    wait === null ? null : el("p", { class: "wait" }, el("span", { class: "sr" }, "then "), `${wait < 1 ? `${Math.round(wait * 1000)} ms` : `${wait.toFixed(2)} s`} until the next`),
  );
  if (wait !== null) node.style.setProperty("--gap", `${Math.round(6 + 40 * (wait / longest))}px`);
  return node;
}

function details(attempt) {
  const said = [];
  if (attempt.label || attempt.fault) {
    const asked = attempt.retry_after ? ` Retry-After: ${attempt.retry_after}` : "";
    said.push(`Injected${attempt.label ? ` by “${attempt.label}”` : `: ${attempt.fault}`}.${asked}`);
  }
  if (attempt.note) said.push(attempt.note.charAt(0).toUpperCase() + attempt.note.slice(1));
  const batch = attempt.batch_index === null || attempt.batch_index === undefined ? "" : `, item ${attempt.batch_index + 1} of ${attempt.batch_size ?? "?"}`;
  if (attempt.path) said.push(`${attempt.method} ${attempt.path}${batch}${typeof attempt.took_ms === "number" ? `, ${took(attempt.took_ms)}` : ""}`);
  return said;
}
