// What a tenant lent and borrowed in a month, by the ledger.

import { ask } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { billed, count, dayOf, time } from "../parts/format.js";
import { plain } from "../parts/figure.js";
import { card, facts, heading } from "../parts/page.js";
import { set } from "../parts/route.js";

const months = 24;

// The last two years; months before the ledger have no rows.
function lately(now) {
  return Array.from({ length: months }, (_, i) => dayOf(new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - i, 1))).slice(0, 7));
}

export const statements = {
  title: "Statements",
  sources: ({ query, who }) => ({
    tenants: { load: (signal) => known(who, signal), on: [] },
    statement: {
      load: (signal) => {
        const tenant = query.get("tenant");
        return tenant === null ? null : ask(`ledger/statement?tenant=${encodeURIComponent(tenant)}`, { month: query.get("month") ?? lately(new Date())[0] }, signal);
      },
      on: ["ledger"],
    },
  }),
  build({ root, query, again }) {
    const tenant = h("select", { on: { change } });
    const month = h("select", { on: { change } }, lately(new Date()).map((m) => h("option", { value: m }, m)));
    month.value = query.get("month") ?? lately(new Date())[0];
    const body = h("div");
    root.append(heading("Statements"), h("div", { class: "filters" },
      h("label", {}, h("span", {}, "Tenant"), tenant), h("label", {}, h("span", {}, "Month, UTC"), month)), body);
    function change() {
      query.set("tenant", tenant.value);
      query.set("month", month.value);
      set({ tenant: tenant.value, month: month.value });
      again();
    }
    return {
      draw({ tenants, statement }) {
        if (tenants && tenant.options.length === 0) {
          tenant.append(...tenants.map((name) => h("option", { value: name }, name)));
          if (query.get("tenant")) tenant.value = query.get("tenant");
          else if (tenants.length > 0) change();
        }
        if (tenants?.length === 0) fill(body, h("p", { class: "empty" }, "There is no tenant in all of whose namespaces you may list Loans."));
        else if (statement) fill(body, page(statement));
      },
    };
  },
};

// Who sees all may name any tenant; others those of which they see everything.
async function known(who, signal) {
  if (!who.all) return who.tenants ?? [];
  const { rows } = await ask("quota", {}, signal);
  return rows.filter((row) => row.kind === "Tenant").map((row) => row.name).sort();
}

const hoursOf = (row) => (row.role === "Lender" ? row.lentGPUHours : row.borrowedGPUHours);

function page(s) {
  const total = (role) => s.rows.filter((row) => row.role === role).reduce((sum, row) => sum + (hoursOf(row) ?? 0), 0);
  return card(`${s.tenant} in ${s.month}`,
    facts(["Lent", `${billed(total("Lender"))} GPU-hours`], ["Borrowed", `${billed(total("Borrower"))} GPU-hours`],
      ["Open loans count until", s.openUntil && time(s.openUntil)], ["By the ledger up to", `entry ${count(s.head.seq)}`],
      ["Its hash", h("code", {}, s.head.hash.slice(0, 16))]),
    plain({
      label: `Statement of ${s.tenant} for ${s.month}`, empty: "Nothing was lent or borrowed.",
      columns: [{ title: "Flavor" }, { title: "Role" }, { title: "State" }, ...["GPU-hours", "Taken back", "Lost", "In quarantine", "Units", "Loans"].map((title) => ({ title, num: true }))],
      rows: s.rows.map((row) => [row.flavor, row.role, row.open ? "Open" : "Ended", billed(hoursOf(row)), billed(row.reclaimed?.gpuHours), billed(row.lostGPUHours), billed(row.quarantinedGPUHours), count(row.units ?? 0), count(row.loans ?? 0)]),
    }),
    h("p", {}, h("a", { href: "#", on: { click: (event) => save(event, s) } }, "Save as CSV"), " ",
      h("span", { class: "soft" }, "The columns are those of kubectl ebbtide ledger statement -o csv, without prices.")));
}

const csvColumns = ["tenant", "month", "flavor", "role", "state", "hours", "reclaimed", "lost", "quarantined", "units", "loans", "reclaimed-units", "reclaimed-loans"];

/** csv of a statement, as the command line writes it. */
export function csv(s) {
  const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const name = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text); // that no spreadsheet takes for a formula
  const rows = s.rows.map((row) => [name(s.tenant), s.month, name(row.flavor), row.role, row.open ? "Open" : "Ended",
    ...[hoursOf(row), row.reclaimed?.gpuHours, row.lostGPUHours, row.quarantinedGPUHours].map((n) => (n ?? 0).toFixed(3)),
    ...[row.units, row.loans, row.reclaimed?.units, row.reclaimed?.loans].map((n) => String(n ?? 0))]);
  return [csvColumns, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

// A link alone could not show the token.
function save(event, s) {
  event.preventDefault();
  const url = URL.createObjectURL(new Blob([csv(s)], { type: "text/csv" }));
  const link = h("a", { href: url, download: `ebbtide-${s.tenant || "unknown"}-${s.month}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
