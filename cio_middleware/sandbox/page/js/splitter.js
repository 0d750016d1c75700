/**
 * The edge between list and detail: drag it, or use the arrow keys.
 * @module
 */

import { byId, el } from "./dom.js";

const LEAST = 340;

export function splitter() {
  const width = () => Number.parseInt(getComputedStyle(document.documentElement).getPropertyValue("--detail"), 10);
  const most = () => Math.max(LEAST, Math.round(innerWidth * 0.6));
  const edge = el("div", { class: "splitter", role: "separator", tabindex: 0, "aria-orientation": "vertical", "aria-label": "Width of the detail", "aria-controls": "detail", "aria-valuemin": LEAST });
  const set = (wanted, keep = true) => {
    const now = Math.round(Math.max(LEAST, Math.min(most(), wanted)));
    document.documentElement.style.setProperty("--detail", `${now}px`);
    edge.setAttribute("aria-valuenow", String(now));
    edge.setAttribute("aria-valuemax", String(most()));
    if (keep) localStorage.setItem("cio-detail", String(now));
  };
  edge.addEventListener("pointerdown", (event) => edge.setPointerCapture(event.pointerId));
  edge.addEventListener("pointermove", (event) => edge.hasPointerCapture(event.pointerId) && set(byId("detail").getBoundingClientRect().right - event.clientX));
  edge.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: 24, ArrowRight: -24 }[event.key];
    if (!step) return;
    set(width() + step);
    event.preventDefault();
  });
  set(Number(localStorage.getItem("cio-detail")) || width(), false);
  return edge;
}
