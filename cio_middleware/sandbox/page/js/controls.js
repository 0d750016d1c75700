/**
 * What buttons and keys do.
 * @module
 */

import { byId } from "./dom.js";
import { help } from "./help.js";
import { listen } from "./keys.js";
import { go, here, to } from "./route.js";
import { copy, toast } from "./share.js";

/** @param {any} app */
export function controls(app) {
  byId("copy-env").addEventListener("click", () => copy(Object.entries(app.environment).map(([name, value]) => `${name}=${value}\n`).join(""), "the .env block"));
  byId("clear").addEventListener("click", () => app.clear());
  byId("theme").addEventListener("click", () => toast(`Theme: ${globalThis.cioTheme()}`));
  byId("help-open").addEventListener("click", help);
  byId("dialog").addEventListener("click", (event) => event.target.closest("a") && byId("dialog").close());
  byId("workspace").addEventListener("change", (event) => location.assign(`/?workspace=${encodeURIComponent(event.target.value)}${location.hash}`));
  const at = (view) => () => go(to(view));
  const numbers = Object.fromEntries([0, 1, 2, 3, 4, 5].map((index) => [String(index + 1), () => app.levers.pull(index)]));
  listen({
    ...numbers, 0: () => app.levers.allBack(), j: () => app.step(1), k: () => app.step(-1), ArrowDown: () => app.step(1), ArrowUp: () => app.step(-1),
    "/": () => app.toFilter(), p: () => app.events.filter.toggle("is:problem"), "g e": at("events"), "g p": at("people"), "g r": at("problems"), "g f": at("faults"),
    Escape: () => app.close(), " ": () => app.events.live.toggle(), f: () => app.filterBy(document.activeElement?.dataset?.term ?? app.events.list.suggestion()),
    c: () => byId("copy-menu")?.querySelector("button")?.focus(), x: () => app.clear(), u: () => app.undo?.(), t: () => byId("theme").click(), "?": help,
  });
}
