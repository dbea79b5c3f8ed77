// The views by the word that stands for each in the address, and those of the menu.

import { overview } from "./overview.js";
import { picture } from "./picture.js";
import { lenders } from "./lenders.js";
import { queue } from "./queue.js";
import { loans } from "./loans.js";
import { quota } from "./quota.js";
import { nodes } from "./nodes.js";
import { statements } from "./statements.js";
import { lender } from "./lender.js";
import { loan } from "./loan.js";
import { job } from "./job.js";
import { node } from "./node.js";
import { h } from "../parts/dom.js";
import { heading } from "../parts/page.js";

const missing = {
  title: "Not here",
  sources: () => ({}),
  build({ root }) {
    root.append(heading("There is no such page"), h("p", {}, h("a", { href: "#/overview" }, "To the overview")));
    return { draw() {} };
  },
};

export const views = { overview, picture, lenders, queue, loans, quota, nodes, statements, lender, loan, job, node, missing };

export const menu = [
  { id: "overview", title: "Overview" },
  { id: "picture", title: "Picture" },
  { id: "loans", title: "Loans", covers: ["loan"] },
  { id: "queue", title: "Queue", covers: ["job"] },
  { id: "lenders", title: "Lenders", covers: ["lender"] },
  { id: "quota", title: "Quota" },
  { id: "nodes", title: "Nodes", covers: ["node"] },
  { id: "statements", title: "Statements" },
];
