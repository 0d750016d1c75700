/**
 * The rows of the list, oldest first inside and newest first to whoever asks, each number once.
 *
 * While somebody reads, what comes waits: `held` counts it, `release` lets it in.
 * @module
 */

export class Rows {
  /** @param {number} most */
  constructor(most = 5000) {
    this.most = most;
    this.holding = false;
    this.clear();
  }

  clear() {
    /** @type {any[]} */
    this.list = [];
    /** @type {Map<number, any>} */
    this.bySeq = new Map();
    /** @type {Map<number, any>} */
    this.waiting = new Map();
  }

  get length() {
    return this.list.length;
  }

  get held() {
    return this.waiting.size;
  }

  /** @param {number} place 0 is the newest */
  at(place) {
    return this.list[this.list.length - 1 - place];
  }

  /** @param {number} seq */
  get(seq) {
    return this.bySeq.get(seq) ?? this.waiting.get(seq);
  }

  /** @param {number} seq @returns {number} its place, or -1 */
  placeOf(seq) {
    if (!this.bySeq.has(seq)) return -1;
    let low = 0;
    let high = this.list.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.list[middle].seq < seq) low = middle + 1;
      else high = middle;
    }
    return this.list.length - 1 - low;
  }

  /**
   * Begin anew, and keep what came while the list was on its way here.
   * @param {any[]} items newest first, as the list answers
   * @param {number} [cursor] the newest number when it did
   */
  begin(items, cursor = Infinity) {
    const since = this.list.filter((row) => row.seq > cursor);
    const waiting = [...this.waiting.values()].filter((row) => row.seq > cursor);
    this.clear();
    this.insert([...items, ...since]);
    for (const row of waiting) this.waiting.set(row.seq, row);
  }

  /**
   * Take rows, new or changed.
   * @param {any[]} items
   * @returns {number} how many are new to the list
   */
  add(items) {
    const gone = new Set();
    const fresh = [];
    for (const row of items) {
      for (const seq of row.replaces ?? []) gone.add(seq);
      if (this.bySeq.has(row.seq)) this.change(row);
      else if (this.holding) this.waiting.set(row.seq, row);
      else fresh.push(row);
    }
    if (gone.size) this.drop(gone);
    return this.insert(fresh);
  }

  /** Rows from the past, whether or not somebody reads. @param {any[]} items */
  backfill(items) {
    this.insert(items.filter((row) => !this.bySeq.has(row.seq) && !this.waiting.has(row.seq)));
  }

  /** @param {any} row */
  change(row) {
    this.list[this.list.length - 1 - this.placeOf(row.seq)] = row;
    this.bySeq.set(row.seq, row);
  }

  /** @param {Set<number>} gone */
  drop(gone) {
    for (const seq of gone) this.waiting.delete(seq);
    if (![...gone].some((seq) => this.bySeq.delete(seq))) return;
    for (const seq of gone) this.bySeq.delete(seq);
    this.list = this.list.filter((row) => !gone.has(row.seq));
  }

  /** Let in what waited. @returns {number} */
  release() {
    const rows = [...this.waiting.values()];
    this.waiting.clear();
    this.holding = false;
    return this.insert(rows);
  }

  insert(rows) {
    if (!rows.length) return 0;
    rows.sort((one, other) => one.seq - other.seq);
    const last = this.list[this.list.length - 1]?.seq ?? -1;
    this.list.push(...rows);
    for (const row of rows) this.bySeq.set(row.seq, row);
    if (rows[0].seq < last) this.list.sort((one, other) => one.seq - other.seq);
    const over = this.list.length - this.most;
    if (over > 0) for (const row of this.list.splice(0, over)) this.bySeq.delete(row.seq);
    return rows.length;
  }
}
