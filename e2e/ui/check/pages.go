package check

import (
	"maps"
	"slices"

	"github.com/ebbtide/ebbtide/e2e/ui/browser"
)

// overflow is true where a page is wider than its window, so that it would have to be moved
// sideways to be read.
const overflow = `(() => { const main = document.getElementById("content"); return document.documentElement.scrollWidth > innerWidth || main.scrollWidth > main.clientWidth + 1; })()`

// inline finds what the policy forbids and a browser would have dropped: styles and handlers
// written into the page.
const inline = `document.documentElement.outerHTML.match(/<[^>]+ on[a-z]+=|javascript:/)`

// Places tries pages, by name and place, in all looks, once each; twice the ones with pictures,
// whose tables are opened.
func (s *Suite) Places(server Server, places map[string]string) {
	for _, look := range slices.Sorted(maps.Keys(Looks)) {
		p, closed, err := s.Browser.Page(Looks[look])
		if err != nil {
			s.Fail("%s: %v", look, err)
			continue
		}
		s.signIn(p, server, look)
		for _, name := range slices.Sorted(maps.Keys(places)) {
			s.place(p, server, look+": "+name, places[name])
			s.Pages[name] = true
		}
		closed()
	}
}

func (s *Suite) place(p *browser.Page, server Server, where, place string) {
	if err := s.Go(p, server, place); err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	s.look(p, where)
	var tables int
	if err := p.Eval(`(() => { const all = [...document.querySelectorAll("figcaption > button")].filter((b) => b.offsetParent); for (const b of all) b.click(); return all.length; })()`, &tables); err != nil {
		s.Fail("%s: open the tables: %v", where, err)
	}
	if tables > 0 {
		s.Expect(p, where, "a picture's numbers are in a table behind its button",
			`[...document.querySelectorAll("figcaption > button")].filter((b) => b.offsetParent).every((b) => b.getAttribute("aria-expanded") === "true" && b.closest("figure").querySelector("table, .empty"))`)
		s.look(p, where+", its tables open")
	}
}

func (s *Suite) look(p *browser.Page, where string) {
	s.Expect(p, where, "the page is no wider than the window", "!"+overflow)
	s.Expect(p, where, "nothing is written into the page that the policy forbids", "!"+inline)
	s.Expect(p, where, "nothing is left that is being read", `!document.querySelector(".loading:not([hidden])")`)
	s.Accessible(p, where)
	s.Errors(p, where)
}

// signIn signs in as somebody does: by pasting the token and pressing the button.
func (s *Suite) signIn(p *browser.Page, server Server, look string) {
	where := look + ": sign-in"
	if err := p.Open(server.URL + "/ui/"); err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	if !s.Await(p, where, "the page asks for a token", `document.querySelector("#token")`) {
		return
	}
	s.look(p, where)
	s.Pages["sign-in"] = true
	if err := p.Eval(`document.querySelector("#token").value = "`+server.Token+`"; document.querySelector("form button").click()`, nil); err != nil {
		s.Fail("%s: %v", where, err)
	}
	s.Await(p, where, "the overview comes", Ready)
	s.Errors(p, where)
}

// Refused tries what somebody sees whose token is not accepted, and that signing out forgets
// the token. The browser itself says on the console that it was refused.
func (s *Suite) Refused(server Server) {
	const where = "refused"
	p, closed, err := s.Browser.Page(Looks["wide light"])
	if err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	defer closed()
	if err := p.Open(server.URL + "/ui/"); err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	s.Await(p, where, "the page asks for a token", `document.querySelector("#token")`)
	if err := p.Eval(`document.querySelector("#token").value = "nobody's"; document.querySelector("form button").click()`, nil); err != nil {
		s.Fail("%s: %v", where, err)
	}
	s.Await(p, where, "it is said that the token is not accepted", `document.querySelector(".notice.bad")?.innerText.includes("token is not accepted")`)
	s.Expect(p, where, "the token is not kept", `sessionStorage.length === 0`)
	s.Accessible(p, where)
	_ = p.Errors()
	if err := s.Enter(p, server, "overview"); err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	if err := p.Eval(`[...document.querySelectorAll("header button")].find((b) => b.textContent === "Sign out").click()`, nil); err != nil {
		s.Fail("%s: %v", where, err)
	}
	s.Await(p, where, "who signs out is asked for a token", `document.querySelector("#token")`)
	s.Expect(p, where, "signing out forgets the token", `sessionStorage.length === 0 && !Object.values(localStorage).join().includes("`+server.Token+`")`)
	s.Errors(p, where)
}
