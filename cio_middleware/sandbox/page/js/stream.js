/**
 * What happens, as it happens: one tab holds the connection, and the others hear of it through a channel.
 *
 * A browser opens six connections to one server, so seven tabs with a stream each would be one that never loads.
 * Every message carries a cursor; whoever has seen it already leaves it, so nobody minds hearing twice.
 * @module
 */

import { streamAddress } from "./api.js";

const KINDS = ["hello", "event", "update", "fault", "person", "reset", "lag"];
const PAUSES = [250, 500, 1000, 2000];

/** @typedef {{kind: string, id: string, data: any}} News */

export class Stream {
  /**
   * @param {string} workspace
   * @param {(news: News) => void} hear
   * @param {(up: boolean) => void} state
   */
  constructor(workspace, hear, state) {
    this.hear = hear;
    this.state = state;
    /** @type {string|null} */
    this.cursor = null;
    this.epoch = null;
    this.failures = 0;
    this.name = `cio-sandbox ${workspace}`;
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = ({ data }) => (data.up === undefined ? this.take(data) : this.state(data.up));
  }

  /** Hear everything after this cursor, as the first of the tabs or through the first. @param {string} cursor */
  follow(cursor) {
    this.cursor = cursor;
    if (!navigator.locks) this.open();
    else navigator.locks.request(this.name, () => this.lead());
  }

  lead() {
    this.leading = true;
    document.documentElement.dataset.stream = "held";
    this.open();
    return new Promise(() => {}); // until this tab closes
  }

  open() {
    this.source?.close();
    const source = (this.source = new EventSource(streamAddress(this.cursor)));
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        const news = { kind, id: event.lastEventId, data: JSON.parse(event.data || "null") };
        if (this.leading) this.channel.postMessage(news);
        this.take(news);
      });
    }
    source.onopen = () => this.say(true);
    source.onerror = () => this.again(source);
  }

  again(source) {
    source.close();
    this.say(false);
    const pause = PAUSES[Math.min(this.failures++, PAUSES.length - 1)];
    setTimeout(() => this.open(), pause);
  }

  say(up) {
    if (up) this.failures = 0;
    if (this.leading) this.channel.postMessage({ up });
    this.state(up);
  }

  take(news) {
    if (news.kind !== "hello" && news.id && this.cursor && older(news.id, this.cursor)) return;
    if (news.id) this.cursor = news.id;
    this.hear(news);
  }
}

/**
 * Of several messages that are sent at once only the last has a cursor, and a browser gives the others the one before:
 * the same cursor again is news too.
 * @param {string} one
 * @param {string} other
 * @returns {boolean} true when the first was passed before the other
 */
function older(one, other) {
  const [epoch, change] = split(one);
  const [otherEpoch, otherChange] = split(other);
  return epoch === otherEpoch && change < otherChange;
}

/** @param {string} cursor */
export const epochOf = (cursor) => split(cursor)[0];

function split(cursor) {
  const dash = cursor.lastIndexOf("-");
  return [cursor.slice(0, dash), Number(cursor.slice(dash + 1))];
}
