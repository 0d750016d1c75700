/**
 * The lever frame: six faults, always in view, for everybody who looks.
 * @module
 */

import * as api from "./api.js";
import { byId, el, fill } from "./dom.js";

/** What stands on each; what it does, the server knows. */
export const LEVERS = [
  { id: "lever-1", name: "429", what: "wait 2 s", says: "429, wait 2 seconds" },
  { id: "lever-2", name: "500", what: "always", says: "500, always" },
  { id: "lever-3", name: "Timeout", what: "no answer", says: "Timeout, no answer" },
  { id: "lever-4", name: "Reset", what: "drop socket", says: "Reset, drop socket: the connection ends" },
  { id: "lever-5", name: "Slow", what: "+800 ms", says: "Slow, +800 ms: each answer is later" },
  { id: "lever-6", name: "Partial", what: "207, item 2", says: "Partial, 207, item 2 of each batch is refused" },
];

export class Levers {
  /** @param {(faults: any) => void} changed @param {(problem: string) => void} complain */
  constructor(changed, complain) {
    this.changed = changed;
    this.complain = complain;
    this.switches = LEVERS.map((lever, index) => this.build(lever, index));
    fill(byId("levers"), this.switches);
  }

  build(lever, index) {
    const node = el(
      "button", { type: "button", class: "lever", role: "switch", "aria-checked": "false", "aria-label": lever.says, onclick: () => this.pull(index) },
      el("span", { class: "no" }, index + 1), el("span", { class: "slot" }, el("span", { class: "handle" })),
      el("span", { class: "name" }, lever.name), el("span", { class: "what" }, lever.what),
    );
    for (const part of node.children) part.setAttribute("aria-hidden", "true");
    return node;
  }

  /** Pull a lever, or put it back. @param {number} index */
  async pull(index) {
    const lever = LEVERS[index];
    const pulled = this.switches[index].getAttribute("aria-checked") === "true";
    try {
      this.changed(await (pulled ? api.dropRule(lever.id) : api.pull(lever.id)));
    } catch (error) {
      this.complain(error.message);
    }
  }

  async allBack() {
    this.changed(await api.clearFaults());
  }

  /** @param {any} faults the document of all faults */
  show(faults) {
    const active = new Set((faults.rules ?? []).filter(acts).map((rule) => rule.id));
    let pulled = 0;
    this.switches.forEach((node, index) => {
      const on = active.has(LEVERS[index].id);
      pulled += Number(on);
      node.setAttribute("aria-checked", String(on));
    });
    fill(byId("frame-n"), pulled ? `${pulled} pulled` : "none pulled");
  }
}

/** True while a script has a step left that breaks something. @param {any} script */
export function playing(script) {
  const steps = script?.steps ?? [];
  const left = steps.slice(script?.taken ?? 0);
  return left.some((step) => !step.startsWith("ok")) || (steps.at(-1)?.endsWith("*") && !steps.at(-1).startsWith("ok"));
}

/** True for a rule whose time is not up. @param {any} rule */
export const acts = (rule) => rule.enabled !== false && !rule.over && !(rule.ends_at && rule.ends_at <= Date.now() / 1000);

/** How many faults act now. @param {any} faults */
export const activeFaults = (faults) => (faults.rules ?? []).filter(acts).length + Number(Boolean(playing(faults.script)));
