// A table of which only the rows in sight are in the document, so that ten thousand cost no
// more than forty. Rows are equally high; how high says the style sheet. It lays them out one
// by one, since a browser lays out a table as a whole; the roles say that it is one all the same.

import { fill, h } from "./dom.js";

// Rows kept ready above and below those in sight.
const spare = 6;

/**
 * Table shows rows. A column is {id, title, cell(row, now)} and may have: hint; num, for
 * numbers; width in pixels (without it the column takes what is left); tier 2 or 3, to be
 * left out where there is little room; sort(row), by which it can be sorted. key(row) tells rows apart, href(row) is where the first column leads, and
 * sorted(column, descending) is told when somebody sorts.
 */
export class Table {
  constructor({ label, columns, key, href, empty = "Nothing to show.", sort = "", descending = false, sorted = () => {} }) {
    Object.assign(this, { label, columns, key, href, empty, by: sort, descending, sorted });
    this.all = [];
    this.rows = [];
    this.lines = []; // the rows in the document, from this.first on
    this.first = 0;
    this.now = new Date();
    this.active = 0;
    this.head = h("thead", { role: "rowgroup" });
    this.body = h("tbody", { role: "rowgroup" });
    this.table = h("table", { role: "table", "aria-label": label }, this.head, this.body);
    this.note = h("p", { class: "empty", hidden: true });
    this.element = h("div", {
      class: "rows", role: "region", "aria-label": `${label}, rows`, tabindex: "0",
      on: { scroll: () => this.scroll(), keydown: (event) => this.press(event), focusin: (event) => this.entered(event), pointerover: whole },
    }, this.table, this.note);
    this.titles();
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  /** set shows other rows, or the same ones as they are now. */
  set(rows, now = this.now) {
    this.all = rows;
    this.now = now;
    this.sort();
    this.draw();
  }

  /** reshape changes the columns. */
  reshape(columns = this.columns) {
    this.columns = columns;
    for (const line of this.lines) line.remove();
    this.lines = [];
    this.titles();
    this.sort();
    this.draw();
  }

  // Columns for which there is no room are not made at all.
  resize() {
    if (this.shown().length !== this.head.rows[0].cells.length) this.reshape();
    else this.scroll();
  }

  shown() {
    const width = this.element.clientWidth || innerWidth;
    return this.columns.filter((c) => !c.tier || width >= tiers[c.tier]);
  }

  titles() {
    this.visible = this.shown();
    this.table.style.setProperty("--columns", this.visible.map((c) => (c.width ? `${c.width}px` : "minmax(0, 1fr)")).join(" "));
    fill(this.head, h("tr", { role: "row", "aria-rowindex": "1" }, this.visible.map((c) => this.title(c))));
  }

  title(column) {
    const mine = this.by === column.id;
    const attributes = { role: "columnheader", scope: "col", class: classes(column), title: column.hint, "aria-sort": mine ? (this.descending ? "descending" : "ascending") : null };
    if (!column.sort) return h("th", attributes, column.title);
    const arrow = h("span", { class: "arrow", "aria-hidden": "true" }, mine ? (this.descending ? "▼" : "▲") : "");
    return h("th", attributes, h("button", { type: "button", class: "sort", on: { click: () => this.order(column) } }, column.title, arrow));
  }

  // Numbers are looked at from the largest, names from the first.
  order(column) {
    this.descending = this.by === column.id ? !this.descending : Boolean(column.num);
    this.by = column.id;
    this.sorted(this.by, this.descending);
    this.titles();
    this.sort();
    this.draw();
  }

  sort() {
    const column = this.columns.find((c) => c.id === this.by && c.sort);
    if (!column) {
      this.rows = this.all;
      return;
    }
    const sign = this.descending ? -1 : 1;
    const known = this.all.map((row) => ({ row, by: column.sort(row) }));
    known.sort((a, b) => {
      if (a.by === undefined || b.by === undefined) return (a.by === undefined) - (b.by === undefined);
      return a.by < b.by ? -sign : a.by > b.by ? sign : 0;
    });
    this.rows = known.map((k) => k.row);
  }

  /** draw shows all rows in sight anew. Who is in a row stays in it, wherever it is now. */
  draw() {
    this.height = parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 32;
    this.table.setAttribute("aria-rowcount", String(this.rows.length + 1));
    this.note.hidden = this.rows.length > 0;
    this.table.hidden = this.rows.length === 0;
    fill(this.note, this.empty);
    const focused = this.focused()?.key;
    const at = focused === undefined ? -1 : this.rows.findIndex((row) => this.key(row) === focused);
    this.active = Math.max(0, Math.min(at >= 0 ? at : this.active, this.rows.length - 1));
    for (const line of this.lines) line.index = -1;
    this.show(...this.sight());
    if (focused !== undefined) (this.lines[this.active - this.first]?.querySelector("a") ?? this.element).focus({ preventScroll: true });
  }

  sight() {
    const top = Math.floor(this.element.scrollTop / this.height) - spare;
    const many = Math.ceil((this.element.clientHeight || 600) / this.height) + 2 * spare;
    const first = Math.max(0, Math.min(top, this.rows.length - many));
    return [first, Math.min(this.rows.length, first + many)];
  }

  scroll() {
    if (!this.height || this.rows.length === 0) return;
    const [first, last] = this.sight();
    if (first !== this.first || last !== this.first + this.lines.length) this.show(first, last);
  }

  // show has the rows from first to last in the document. Lines that are not in sight any
  // more become those that come into sight.
  show(first, last) {
    const kept = new Map();
    const spent = [];
    for (const line of this.lines) {
      if (line.index >= first && line.index < last) kept.set(line.index, line);
      else spent.push(line);
    }
    // Who has the focus in a row that goes keeps it on the table.
    const focused = this.focused();
    if (focused && spent.includes(focused)) this.element.focus({ preventScroll: true });
    let next = this.body.firstChild;
    this.lines = [];
    for (let index = first; index < last; index++) {
      const line = kept.get(index) ?? this.paint(spent.pop() ?? this.blank(), index);
      if (line === next) next = next.nextSibling;
      else this.body.insertBefore(line, next);
      this.lines.push(line);
    }
    for (const line of spent) line.remove();
    this.first = first;
    this.body.style.height = `${this.rows.length * this.height}px`;
  }

  blank() {
    return h("tr", { role: "row" }, this.visible.map((column, at) => (at > 0 ? h("td", { role: "cell", class: classes(column) })
      : h("th", { role: "rowheader", class: classes(column), scope: "row" }, this.href && h("a", { href: "" })))));
  }

  paint(line, index) {
    const row = this.rows[index];
    line.index = index;
    line.key = this.key(row);
    line.setAttribute("aria-rowindex", String(index + 2));
    line.style.top = `${index * this.height}px`;
    this.visible.forEach((column, at) => {
      let cell = line.cells[at];
      if (at === 0 && this.href) {
        cell = cell.firstChild;
        cell.setAttribute("href", this.href(row));
        cell.setAttribute("tabindex", index === this.active ? "0" : "-1");
      }
      put(cell, column.cell(row, this.now));
    });
    return line;
  }

  focused() {
    const line = document.activeElement?.closest?.("tr");
    return line?.parentNode === this.body ? line : null;
  }

  entered(event) {
    const line = event.target.closest("tbody tr");
    if (!line || line.index === this.active) return;
    this.body.querySelector('a[tabindex="0"]')?.setAttribute("tabindex", "-1");
    this.active = line.index;
    line.querySelector("a")?.setAttribute("tabindex", "0");
  }

  press(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.height) - 2);
    const inRow = event.target.closest("tbody tr") !== null;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.rows.length, End: this.rows.length };
    const step = steps[event.key];
    if (step === undefined || !this.href || event.ctrlKey || event.metaKey || event.altKey || this.rows.length === 0) return;
    if (event.target !== this.element && !inRow) return;
    event.preventDefault();
    this.go(inRow ? this.active + step : step > 1 ? this.rows.length - 1 : Math.ceil(this.element.scrollTop / this.height));
  }

  go(index) {
    const target = Math.max(0, Math.min(index, this.rows.length - 1));
    const above = this.head.offsetHeight;
    const top = target * this.height;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.height + above > scrollTop + clientHeight) this.element.scrollTop = top + this.height + above - clientHeight;
    this.scroll();
    this.lines[target - this.first]?.querySelector("a")?.focus({ preventScroll: true });
  }
}

// From which width on there are columns of a tier.
const tiers = { 2: 600, 3: 900, 4: 1280 };

const classes = (column) => [column.num && "num", column.class].filter(Boolean).join(" ") || null;

// put makes something the only content of a cell; a text takes the place of a text.
function put(cell, content) {
  const old = cell.firstChild;
  if (content instanceof Node) {
    if (old && !old.nextSibling) old.replaceWith(content);
    else cell.replaceChildren(content);
  } else if (old?.nodeType === Node.TEXT_NODE && !old.nextSibling) {
    if (old.data !== content) old.data = content;
  } else cell.textContent = content;
}

// whole says all of a text that is cut off to who points at it.
function whole(event) {
  const cell = event.target.closest("td, th, td > span");
  if (!cell || cell.title || cell.scrollWidth <= cell.clientWidth) return;
  cell.title = cell.textContent;
  cell.addEventListener("pointerleave", () => cell.removeAttribute("title"), { once: true });
}
