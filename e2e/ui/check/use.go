package check

import (
	"errors"
	"fmt"

	"github.com/chromedp/chromedp/kb"

	"github.com/ebbtide/ebbtide/e2e/ui/browser"
)

const (
	rows  = `document.querySelector(".rows")`
	count = `(Number(document.querySelector(".rows table").getAttribute("aria-rowcount")) - 1)`
)

// Use tries what people do with the page: filter, sort, go by keys, zoom, read beside a bar.
func (s *Suite) Use(server Server) {
	p, closed, err := s.Visit(server, Looks["wide light"], "loans")
	if err != nil {
		s.Fail("use: %v", err)
		return
	}
	defer closed()
	s.filters(p, server)
	s.keys(p, server)
	s.picture(p, server)
	s.theme(p)
	s.Errors(p, "use")
}

func (s *Suite) act(p *browser.Page, where, expression string) {
	if err := p.Eval(expression+"; undefined", nil); err != nil {
		s.Fail("%s: %v", where, err)
	}
}

func (s *Suite) press(p *browser.Page, where, keys string) {
	if err := p.Press(keys); err != nil {
		s.Fail("%s: %v", where, err)
	}
}

// filters leave the rows that have what is chosen, stand in the address, and come back with it.
func (s *Suite) filters(p *browser.Page, server Server) {
	const where = "filters"
	var all int
	if err := p.Eval(count, &all); err != nil || all < 2 {
		s.Fail("%s: there are %d loans: %v", where, all, err)
		return
	}
	s.act(p, where, `window.fields = [...document.querySelectorAll(".filters label")].reduce((o, l) => ({...o, [l.innerText.split("\n")[0].trim()]: l.querySelector("input, select")}), {});
		fields.Tenant.value = fields.Tenant.options[1].value; fields.Tenant.dispatchEvent(new Event("change"))`)
	s.Await(p, where, "a tenant leaves fewer loans, all of them his", fmt.Sprintf(`%s < %d && %[1]s > 0 && location.hash.includes("tenant=")`, count, all))
	s.act(p, where, `window.few = `+count)
	s.Expect(p, where, "every row is of the tenant chosen", `[...document.querySelectorAll(".rows tbody tr th")].every((th) => th.innerText.startsWith(fields.Tenant.value + "/"))`)
	s.act(p, where, `fields.Search.value = document.querySelector(".rows tbody th a").innerText; fields.Search.dispatchEvent(new Event("input"))`)
	s.Await(p, where, "a text leaves fewer still", count+` >= 1 && `+count+` <= few && location.hash.includes("text=")`)
	s.act(p, where, `window.one = `+count)
	var kept int
	if err := p.Eval(`one`, &kept); err != nil {
		s.Fail("%s: %v", where, err)
	}
	var href string
	if err := p.Eval(`location.href`, &href); err != nil {
		s.Fail("%s: %v", where, err)
	}
	if err := errors.Join(p.Open("about:blank"), p.Open(href)); err != nil {
		s.Fail("%s: %v", where, err)
	}
	s.Await(p, where, "what was chosen is there after loading the page again", Ready+` && `+fmt.Sprintf("%s === %d", count, kept))
	s.act(p, where, `[...document.querySelectorAll(".filters button")].find((b) => b.textContent === "Clear").click()`)
	s.Await(p, where, "clearing shows all again", fmt.Sprintf(`%s === %d && !location.hash.includes("tenant")`, count, all))

	s.act(p, where, `[...document.querySelectorAll(".rows thead button")].find((b) => b.innerText.startsWith("Units")).click()`)
	s.Await(p, where, "a click on a title sorts by it", `document.querySelector('th[aria-sort="descending"]')?.innerText.startsWith("Units") && location.hash.includes("sort=units")`)
	s.Expect(p, where, "the rows are in order", `(() => { const n = [...document.querySelectorAll(".rows tbody tr")].map((tr) => Number(tr.cells[[...document.querySelectorAll(".rows thead th")].findIndex((th) => th.innerText.startsWith("Units"))].innerText)); return n.length > 1 && n.every((v, i) => i === 0 || v <= n[i - 1]); })()`)
}

// keys lead everywhere, and where one is can be seen.
func (s *Suite) keys(p *browser.Page, server Server) {
	const where = "keys"
	if err := s.Go(p, server, "loans"); err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	s.press(p, where, kb.Tab)
	s.Expect(p, where, "the first key leads to the content", `document.activeElement.textContent.includes("Skip")`)
	s.press(p, where, kb.Enter)
	s.Expect(p, where, "skipping leads there and not to another view", `document.activeElement.id === "content" && location.hash.startsWith("#/loans")`)
	s.act(p, where, rows+`.focus()`)
	s.press(p, where, kb.ArrowDown)
	s.press(p, where, kb.ArrowDown)
	s.Expect(p, where, "arrows go from row to row", `document.activeElement.closest("tr")?.getAttribute("aria-rowindex") === "3"`)
	s.Expect(p, where, "the focus is to be seen", `parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2`)
	s.press(p, where, kb.End)
	s.Await(p, where, "End goes to the last row", `document.activeElement.closest("tr")?.getAttribute("aria-rowindex") === document.querySelector(".rows table").getAttribute("aria-rowcount")`)
	s.press(p, where, kb.Home)
	s.Await(p, where, "Home goes to the first", `document.activeElement.closest("tr")?.getAttribute("aria-rowindex") === "2"`)
	s.press(p, where, kb.Enter)
	s.Await(p, where, "Enter opens the loan, and its title has the focus", `location.hash.startsWith("#/loan/") && document.activeElement.tagName === "H1" && `+Ready)
}

// picture zooms by keys and tells of a loan that has the focus.
func (s *Suite) picture(p *browser.Page, server Server) {
	const where = "picture"
	if err := s.Go(p, server, "picture?range=24h"); err != nil {
		s.Fail("%s: %v", where, err)
		return
	}
	s.Await(p, where, "loads are drawn with their water marks", `document.querySelector(".chart path.load") && document.querySelectorAll(".chart .water").length === 2`)
	s.Await(p, where, "loans are drawn", `document.querySelector(".lane .run.lent")?.offsetWidth > 0`)
	s.Expect(p, where, "the loads' axis is the loans' axis", `(() => { const tick = document.querySelector(".chart .base").getBoundingClientRect(); const lane = document.querySelector(".lane").getBoundingClientRect(); return Math.abs(tick.left - lane.left) < 2 && Math.abs(tick.right - lane.right) < 2; })()`)
	s.act(p, where, rows+`.focus()`)
	s.press(p, where, kb.ArrowDown)
	s.Await(p, where, "how it ended stands beside a loan that has the focus", `document.querySelector("#tip:not([hidden])")?.innerText.length > 40`)
	s.act(p, where, `[...document.querySelectorAll(".rows tbody tr")].find((tr) => tr.querySelector(".run") && !tr.querySelector(".end")).querySelector("a").focus()`)
	s.Await(p, where, "the verdict stands beside one that runs", `document.querySelector("#tip:not([hidden]) .verdict")?.innerText.length > 10`)
	s.Expect(p, where, "it is said of the row", `document.querySelector('[aria-describedby="tip"]')`)
	s.press(p, where, kb.Escape)
	s.Expect(p, where, "Escape takes it away", `document.querySelector("#tip").hidden`)
	s.press(p, where, "+")
	s.Await(p, where, "plus zooms in, to a time that has an end", `location.hash.includes("from=") && location.hash.includes("to=")`)
	s.Await(p, where, "the shorter time is drawn", Ready)
	s.press(p, where, kb.ArrowLeft)
	s.press(p, where, "0")
	s.Await(p, where, "zero goes back to now", `!location.hash.includes("from=")`)
}

// theme is switched by hand, for this time and the next.
func (s *Suite) theme(p *browser.Page) {
	const where = "colours"
	ground := `getComputedStyle(document.documentElement).backgroundColor`
	s.act(p, where, `window.light = `+ground+`; for (const _ of [1, 2]) document.querySelector('header button[aria-label^="Colours"]').click()`)
	s.Expect(p, where, "the switch makes it dark", ground+` !== light && document.documentElement.dataset.theme === "dark"`)
	s.act(p, where, `document.querySelector('header button[aria-label^="Colours"]').click()`)
	s.Expect(p, where, "and as the system says again", ground+` === light`)
}
