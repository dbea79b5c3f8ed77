// A row of filters above a table. What is chosen stands in the address, so that it can be
// sent to somebody, and comes back with the page.

import { h } from "./dom.js";
import { set } from "./route.js";

/**
 * filters makes fields: {id, label, options(): [text] or [[value, text]]} is a choice, and
 * without options a text. changed is called after each change. It returns {element, values(),
 * refresh()}.
 */
export function filters(query, fields, changed) {
  const made = fields.map((field) => ({ field, input: field.options ? choice(field, query, update) : text(field, query, update) }));
  const said = h("output", { class: "soft" });
  const clear = h("button", { type: "button", class: "quiet", on: { click: reset } }, "Clear");
  const element = h("div", { class: "filters", role: "search" },
    made.map(({ field, input }) => h("label", {}, h("span", {}, field.label), input)), clear, said);

  const values = () => Object.fromEntries(made.map(({ field, input }) => [field.id, input.value]));
  function update() {
    const now = values();
    set(now);
    clear.hidden = Object.values(now).every((value) => !value);
    changed();
  }
  function reset() {
    for (const { input } of made) input.value = "";
    update();
    made[0].input.focus();
  }
  clear.hidden = Object.values(values()).every((value) => !value);
  return {
    element,
    values,
    /** refresh reads the options again; what is chosen stays, though nothing may have it now. */
    refresh() {
      for (const { field, input } of made) if (field.options) offer(input, field.options(), input.value);
    },
    /** count says how many rows there are and how many of them are shown. */
    count(text) {
      said.textContent = text;
    },
  };
}

function text(field, query, update) {
  let timer;
  return h("input", {
    type: "search", value: query.get(field.id) ?? "", placeholder: field.hint ?? "", spellcheck: "false", autocomplete: "off",
    on: { input: () => { clearTimeout(timer); timer = setTimeout(update, 120); } },
  });
}

function choice(field, query, update) {
  const input = h("select", { on: { change: update } });
  offer(input, field.options(), query.get(field.id) ?? "");
  return input;
}

function offer(input, options, chosen) {
  const list = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  if (chosen && !list.some(([value]) => value === chosen)) list.push([chosen, chosen]);
  const wanted = [["", "All"], ...list];
  if (input.options.length === wanted.length && wanted.every(([value, title], i) => input.options[i].value === value && input.options[i].text === title)) return;
  input.replaceChildren(...wanted.map(([value, title]) => h("option", { value }, title)));
  input.value = chosen;
}

/** distinct values of rows, sorted. */
export const distinct = (rows, of) => [...new Set(rows.flatMap(of).filter(Boolean))].sort();
