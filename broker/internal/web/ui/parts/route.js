// Where in the page somebody is. Everything stands after the #, so that a link can be sent
// to a colleague and the broker serves one file: #/loans?state=Active.

/** here is the view's name, what it is about, and its parameters. */
export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...about] = path.split("/");
  const found = { view: view || "overview", about: "", query: new URLSearchParams(query ?? "") };
  try {
    found.about = about.map(decodeURIComponent).join("/");
  } catch {
    found.view = "missing"; // it was cut, or typed: no link of the page is like that
  }
  return found;
}

/** to makes the address of a view, about something, with parameters that are not empty. */
export function to(view, about = "", query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== false);
  const text = new URLSearchParams(given).toString();
  const path = about ? `/${about.split("/").map(encodeURIComponent).join("/")}` : "";
  return `#/${view}${path}${text ? `?${text}` : ""}`;
}

/**
 * set changes parameters of the present view without leaving it. The history gets no entry
 * for each letter that somebody types.
 */
export function set(changes) {
  const { view, about, query } = here();
  history.replaceState(null, "", to(view, about, { ...Object.fromEntries(query), ...changes }));
}

export const links = {
  loan: (name) => to("loan", name),
  lender: (name) => to("lender", name),
  job: (name) => to("job", name),
  node: (name) => to("node", name),
};
