// A picture, and behind a button the table with the same numbers.

import { fill, h } from "./dom.js";

let numbered = 0;

/**
 * figure frames a picture. It returns {element, show(picture, table, notes)}; the table is
 * {columns: [{title, num}], rows: [[cell]]}.
 */
export function figure({ title, note = "", legend = null, level = 2 }) {
  const id = `figure-${++numbered}`;
  const picture = h("div", { class: "picture" });
  const numbers = h("div", { class: "numbers", id, hidden: true });
  const button = h("button", {
    type: "button", class: "quiet", "aria-expanded": "false", "aria-controls": id,
    on: { click: () => flip(numbers.hidden) },
  }, "Table");
  const about = h("p", { class: "soft" }, note);
  const element = h("figure", { class: "card" },
    h("figcaption", {}, h(`h${level}`, {}, title), legend, button), about, picture, numbers);
  about.hidden = !note;

  function flip(open) {
    numbers.hidden = !open;
    picture.hidden = open;
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Picture" : "Table";
  }
  return {
    element,
    show(content, table, text = note) {
      fill(picture, content);
      fill(numbers, plain({ label: title, ...table }));
      fill(about, text);
      about.hidden = text.length === 0;
    },
  };
}

/** plain is a small table: all of its rows are in the document. */
export function plain({ label, columns, rows, empty = "Nothing to show." }) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const cell = (content, at) => h(at === 0 ? "th" : "td", { class: columns[at].num ? "num" : null, scope: at === 0 ? "row" : null }, content);
  return h("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" },
    h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: c.num ? "num" : null }, c.title)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell))))));
}
