package check

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	isLive   = `document.querySelector(".status.live")`
	signedIn = `sessionStorage.length === 1 && !document.querySelector("#token")`
)

// Doubted tries that a single answer that somebody is not known signs nobody out, while he looks
// or when he loads the page again; and that many do. doubt has so many requests answered so.
func (s *Suite) Doubted(server Server, doubt func(requests int64)) {
	const where = "in doubt"
	p, closed, err := s.Visit(server, Looks["wide light"], "loans")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	defer closed()
	s.Await(p, where, "the page is live", isLive)
	s.act(p, where, `new MutationObserver(() => { window.wasStale ||= Boolean(document.querySelector(".status.stale")); }).observe(document.querySelector(".status"), {attributes: true})`)
	doubt(1)
	s.Await(p, where, "it was told so, and is live again", `window.wasStale && `+isLive)
	s.Expect(p, where, "nobody is signed out by one answer", signedIn)
	if err := p.Open("about:blank"); err != nil {
		s.Fail("%s: %v", where, err)
	}
	doubt(1)
	if err := s.Go(p, server, "loans"); err != nil {
		s.Fail("%s: loaded again: %v", where, err)
	}
	s.Expect(p, where, "nobody is signed out by one answer when he loads the page", signedIn)
	s.Await(p, where, "the page is live", isLive)
	doubt(1 << 40)
	s.Await(p, where, "who is not known any more is asked for another token", `document.querySelector(".notice.bad")?.innerText.includes("token is not accepted") && document.querySelector("#token")`)
	s.Expect(p, where, "the old one is forgotten", `sessionStorage.length === 0`)
	s.Accessible(p, where)
	doubt(0)
	_ = p.Errors() // the browser says so, too
}

// Crowded tries that a tab which may not watch says why. crowd keeps all out, or none.
func (s *Suite) Crowded(server Server, crowd func(full bool)) {
	const where = "crowded"
	p, closed, err := s.Visit(server, Looks["narrow light"], "loans")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	defer closed()
	s.Await(p, where, "the page is live", isLive)
	crowd(true)
	s.Await(p, where, "it says why it is told of nothing", `document.querySelector(".status.stale")?.innerText.includes("too many tabs are open")`)
	s.Accessible(p, where)
	crowd(false)
	s.Await(p, where, "it is live when there is room", isLive)
	s.Expect(p, where, "it says no more why not", `!document.querySelector(".status").innerText.includes("tabs")`)
	_ = p.Errors()
}

// Lost tries an address that no link of the page has.
func (s *Suite) Lost(server Server) {
	const where = "a broken address"
	p, closed, err := s.Visit(server, Looks["wide light"], "loan/%")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	defer closed()
	s.Expect(p, where, "it says that there is no such page", `document.querySelector("h1").innerText.includes("no such page")`)
	s.Errors(p, where)
}

const hide = `Object.defineProperty(document, "hidden", {get: () => %t, configurable: true}); document.dispatchEvent(new Event("visibilitychange")); undefined`

// Leave opens a tab at which nobody looks any more, and returns what tries that it has given its
// stream back, and watches again when somebody does. watchers is how many watch; nobody else may.
func (s *Suite) Leave(server Server) func(watchers func() int) {
	const where = "left alone"
	p, closed, err := s.Visit(server, Looks["wide light"], "loans")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return func(func() int) {}
	}
	s.Await(p, where, "the page is live", isLive)
	s.act(p, where, fmt.Sprintf(hide, true))
	ends := func(watchers func() int, what string) bool {
		for end := time.Now().Add(2 * time.Minute); watchers() > 0; time.Sleep(20 * time.Millisecond) { // between two looks
			if time.Now().After(end) {
				s.Fail("%s: the tab watches still, %s", where, what)
				return false
			}
		}
		return true
	}
	return func(watchers func() int) {
		defer closed()
		if !ends(watchers, "which nobody looks at") {
			return
		}
		s.Await(p, where, "it does not say that it is live", `!document.querySelector(".status.live")`)
		s.act(p, where, fmt.Sprintf(hide, false))
		s.Await(p, where, "it is live when it is seen again", isLive)
		if n := watchers(); n != 1 {
			s.Fail("%s: %d watch of one tab", where, n)
		}
		s.act(p, where, `{ const real = setTimeout; window.setTimeout = (f, after, ...more) => (after === 30000 ? 0 : real(f, after, ...more)); }`)
		s.act(p, where, fmt.Sprintf(hide, true)+`; dispatchEvent(new PageTransitionEvent("pagehide", {persisted: true}))`)
		ends(watchers, "which is kept for going back to, where no time passes")
		s.Errors(p, where)
	}
}

// Keeps tries that a lender's page says when it keeps how many units.
func (s *Suite) Keeps(server Server, lender, want string) {
	where := "lender " + lender
	p, closed, err := s.Visit(server, Looks["wide light"], Place("lender", lender))
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	defer closed()
	const text = `[...document.querySelectorAll("dl.facts div")].find((d) => d.innerText.startsWith("Times it keeps units"))?.innerText`
	s.Expect(p, where, "it says when units are kept: "+want, fmt.Sprintf(`%s?.includes(%q)`, text, want))
	s.Expect(p, where, "it says of all times how many", text+`.split("\n").slice(1).filter((l) => l).every((l) => /^[^:]+: \d+, /.test(l))`)
	s.Errors(p, where)
}

// Sheet tries that the page writes a statement as the command line does: of the answer and the
// sheet that the latter's test has, without the columns of money.
func (s *Suite) Sheet(server Server, root string) {
	const where = "statement as CSV"
	answer, err := said(root, "ledger-statement-json")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	text, err := said(root, "ledger-statement-csv")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	var want strings.Builder
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), ",")
		want.WriteString(strings.Join(cells[:max(len(cells)-2, 0)], ",") + "\n")
	}
	p, closed, err := s.Visit(server, Looks["wide light"], "statements")
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	defer closed()
	var got, formula string
	const write = `import(new URL("views/statements.js", document.querySelector("script[src]").src).href).then((m) => m.csv(%s))`
	if err := p.Eval(fmt.Sprintf(write, answer), &got); err != nil {
		s.Fail("%s: %v", where, err)
	}
	if got != want.String() || !strings.HasPrefix(got, "tenant,month,flavor,") {
		s.Fail("%s: the page writes\n%sand the command line\n%s", where, got, want.String())
	}
	if err := p.Eval(fmt.Sprintf(write, `{tenant: "=1+1", month: "2026-03", rows: [{flavor: "-h,100", role: "Lender"}]}`), &formula); err != nil {
		s.Fail("%s: %v", where, err)
	}
	if _, row, _ := strings.Cut(formula, "\n"); !strings.HasPrefix(row, `'=1+1,2026-03,"'-h,100",Lender,Ended,`) {
		s.Fail("%s: a spreadsheet takes names for formulas: %s", where, row)
	}
	s.Errors(p, where)
}

// said is what a command prints, by the file that its test compares with.
func said(root, name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, "broker/internal/cli/testdata", name+".golden"))
	if err != nil {
		return "", fmt.Errorf("read what the command line prints: %w", err)
	}
	_, text, _ := strings.Cut(string(data), "\n")
	text, _, found := strings.Cut(text, "--- exit 0 ---")
	if !found || text == "" {
		return "", fmt.Errorf("%s is not of a command that succeeded", name)
	}
	if strings.HasSuffix(name, "-json") && !json.Valid([]byte(text)) {
		return "", fmt.Errorf("%s has no JSON", name)
	}
	return text, nil
}
