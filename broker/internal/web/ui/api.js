// Questions to the broker, by the token that somebody pasted. It stays in this tab's session
// storage: closing the tab forgets it, and no other tab or page has it.

const KEY = "ebbtide-token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Problem is an answer that is none, in words for whoever asked. */
export class Problem extends Error {
  constructor(status, text, advice) {
    super(text);
    this.status = status;
    this.advice = advice;
  }
}

export const headers = () => ({ Authorization: `Bearer ${token.get() ?? ""}` });

// The page is served at …/ui/; the API stands beside it.
const base = new URL("../", document.baseURI);

/** address of a question; parameters that are empty are left out. */
export function address(path, parameters = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== "" && value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  return url;
}

/** ask returns what the broker answers to GET path. */
export async function ask(path, parameters, signal) {
  let response;
  try {
    response = await fetch(address(path, parameters), { headers: headers(), signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "The broker does not answer.", "The connection may be cut, or the port-forward may have ended.");
  }
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

// Rows that a page holds at most. More than that nobody looks through; filters find them.
const mostRows = 20_000;

/** askAll follows `next`, and returns the last answer with the rows of all pages; `more` if there were too many. */
export async function askAll(path, field, parameters, signal) {
  const rows = [];
  for (let from; ; ) {
    const page = await ask(path, { ...parameters, from }, signal);
    rows.push(...(page[field] ?? []));
    if (!page.next || rows.length >= mostRows) return { ...page, [field]: rows, more: Boolean(page.next) };
    from = page.next;
  }
}

/** problemOf says what an answer that was refused means, and what to do about it. */
export async function problemOf(response) {
  let said = "";
  try {
    said = (await response.json()).error ?? "";
  } catch {
    // Whoever stands between answered in another form; the number says enough.
  }
  switch (response.status) {
    case 401:
      return new Problem(401, "The token is not accepted.", "It has expired, was revoked, or is of another cluster. Make a new one and sign in again.");
    case 403:
      return new Problem(403, sentence(said || "You may not see this."), adviceOn(said));
    case 404:
      return new Problem(404, sentence(said || "There is no such thing."), "");
    case 503:
      return new Problem(503, sentence(said || "The broker cannot answer now."), "It is asked again by itself.");
    default:
      return new Problem(response.status, sentence(said || `The broker answers with status ${response.status}.`), "");
  }
}

// The words of the broker are user "…" may not list loans.ebbtide.dev in …, or may not get a path.
function adviceOn(said) {
  if (/loans\.ebbtide\.dev in namespace/.test(said)) {
    return "The right that is missing is list on loans.ebbtide.dev in that namespace. The roles view, edit and admin have it: ask for one of them there.";
  }
  if (/loans\.ebbtide\.dev/.test(said)) {
    return "The right that is missing is list on loans.ebbtide.dev, there or everywhere. An administrator gives it by the role view in the namespace, or by ebbtide-auditor for all.";
  }
  return "The right that is missing is get on that path. An administrator gives it by the ClusterRole ebbtide-auditor.";
}

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`).replace(/^./, (c) => c.toUpperCase());
