// A view that is one long table with filters above it: loans, the queue, lenders, nodes.

import { askAll } from "../api.js";
import { h } from "./dom.js";
import { distinct, filters } from "./filters.js";
import { count, plural } from "./format.js";
import { heading } from "./page.js";
import { set } from "./route.js";
import { Table } from "./table.js";

/**
 * list makes such a view of the rows that `field` of GET path has. choices are filters,
 * {id, label, of(row): value or values, word(value)}; texts(row) is what the search looks
 * through; noun is what one is, and tally(rows) is said after how many there are.
 */
export function list({ title, path = title.toLowerCase(), field, on, columns, key, href, hint, choices, texts, noun, tally, empty, beside = () => [], above = () => [] }) {
  return {
    title,
    fills: true,
    sources: () => ({ answer: { load: (signal) => askAll(path, field, {}, signal), on } }),
    build({ root, query, who }) {
      let all = [];
      let more = false;
      const table = new Table({
        label: title, columns, key, href, empty, sort: query.get("sort") ?? "", descending: query.has("desc"),
        sorted: (sort, desc) => set({ sort, desc: desc ? "1" : "" }),
      });
      const chosen = filters(query, [
        { id: "text", label: "Search", hint },
        ...choices.map(({ id, label, of, word = (value) => value }) => ({ id, label, options: () => distinct(all, of).map((value) => [value, word(value)]) })),
      ], () => show());
      const extra = h("div", { class: "above" });
      const show = (now) => {
        const rows = all.filter((row) => passes(row, chosen.values(), choices, texts));
        const many = rows.length === all.length ? "" : `${count(rows.length)} of `;
        chosen.count(`${many}${plural(all.length, noun)}, ${tally(rows)}${more ? "; there are more than fit here" : ""}`);
        table.set(rows, now);
      };
      root.append(heading(title, ...beside(who)), extra, chosen.element, table.element);
      return {
        draw({ answer }, now) {
          if (!answer) return;
          [all, more] = [answer[field], answer.more];
          extra.replaceChildren(...above(answer, who));
          chosen.refresh();
          show(now);
        },
      };
    },
  };
}

function passes(row, values, choices, texts) {
  for (const { id, of } of choices) {
    if (values[id] && ![of(row)].flat().includes(values[id])) return false;
  }
  const wanted = values.text.trim().toLowerCase();
  return !wanted || texts(row).some((text) => text?.toLowerCase().includes(wanted));
}
