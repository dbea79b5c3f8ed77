// Package check says what is right of the dashboard, in a browser.
//
// It promises that whatever is found is told in a sentence, and that nothing is taken for
// right because it was not looked at: a page that does not come is a finding too. It waits for
// what must come, and never for a time.
package check

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/ebbtide/ebbtide/e2e/ui/browser"
)

// Server is where a dashboard is, and who asks.
type Server struct {
	// URL ends without a slash; the dashboard is below /ui/.
	URL   string
	Token string
}

// Suite tries pages in a browser and collects what it finds.
type Suite struct {
	Browser *browser.Browser
	// Axe is the source of the accessibility checker.
	Axe string
	// Logf is told of progress.
	Logf func(format string, args ...any)

	// Findings are sentences; ConsoleErrors and AxeViolations count theirs.
	Findings      []string
	ConsoleErrors int
	AxeViolations int
	// Pages are those that were opened, by name.
	Pages map[string]bool
}

// Fail notes something wrong.
func (s *Suite) Fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.Findings = append(s.Findings, text)
	s.Logf("WRONG: %s", text)
}

// Looks are those that every page is tried in: wide and narrow, light and dark.
var Looks = map[string]browser.Look{
	"wide light":   {Width: 1280, Height: 800},
	"wide dark":    {Width: 1280, Height: 800, Dark: true},
	"narrow light": {Width: 360, Height: 740},
	"narrow dark":  {Width: 360, Height: 740, Dark: true},
}

// Ready is true when a view has been drawn from answers.
const Ready = `document.querySelector(".view[data-ready]")`

// Visit opens a tab, signs in and goes to a place of the page. The tab is closed by closed.
func (s *Suite) Visit(server Server, look browser.Look, place string) (p *browser.Page, closed func(), err error) {
	p, closed, err = s.Browser.Page(look)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Enter(p, server, place); err != nil {
		closed()
		return nil, nil, err
	}
	return p, closed, nil
}

// Enter signs in and goes to a place.
func (s *Suite) Enter(p *browser.Page, server Server, place string) error {
	if err := p.Open(server.URL + "/ui/"); err != nil {
		return err
	}
	if err := p.Wait(`document.querySelector("#token")`); err != nil {
		return err
	}
	if err := p.Eval(fmt.Sprintf(`sessionStorage.setItem("ebbtide-token", %q)`, server.Token), nil); err != nil {
		return err
	}
	return s.Go(p, server, place)
}

// Go loads a place of the page anew.
func (s *Suite) Go(p *browser.Page, server Server, place string) error {
	if err := p.Open("about:blank"); err != nil {
		return err
	}
	if err := p.Open(server.URL + "/ui/#/" + place); err != nil {
		return err
	}
	return p.Wait(Ready)
}

// Errors notes what the page's console said since the last time.
func (s *Suite) Errors(p *browser.Page, where string) {
	for _, text := range p.Errors() {
		s.ConsoleErrors++
		s.Fail("%s: %s", where, text)
	}
}

// Accessible notes what the accessibility checker finds in the page.
func (s *Suite) Accessible(p *browser.Page, where string) {
	var found []struct {
		ID    string `json:"id"`
		Help  string `json:"help"`
		Nodes []struct {
			HTML    string `json:"html"`
			Summary string `json:"failureSummary"`
		} `json:"nodes"`
	}
	err := p.Eval(s.Axe+`; undefined`, nil)
	if err == nil {
		err = p.Eval(`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations)`, &found)
	}
	if err != nil {
		s.Fail("%s: the accessibility checker does not run: %v", where, err)
		return
	}
	for _, v := range found {
		s.AxeViolations++
		s.Fail("%s: %s: %s, at %d places, first %.160s: %s", where, v.ID, v.Help, len(v.Nodes), v.Nodes[0].HTML, strings.ReplaceAll(v.Nodes[0].Summary, "\n", " "))
	}
}

// Expect notes it if an expression is not true in the page at once.
func (s *Suite) Expect(p *browser.Page, where, what, expression string) {
	var holds bool
	if err := p.Eval("Boolean("+expression+")", &holds); err != nil {
		s.Fail("%s: %s: %v", where, what, err)
	} else if !holds {
		s.Fail("%s: %s: that is not so (%s)", where, what, expression)
	}
}

// Await notes it if an expression does not become true.
func (s *Suite) Await(p *browser.Page, where, what, expression string) bool {
	if err := p.Wait(expression); err != nil {
		s.Fail("%s: %s: %v", where, what, err)
		return false
	}
	return true
}

// ReadAxe reads the checker from where npm puts it.
func ReadAxe(folder string) (string, error) {
	data, err := os.ReadFile(folder + "/node_modules/axe-core/axe.min.js")
	if err != nil {
		return "", fmt.Errorf("read the accessibility checker (npm ci in e2e/ui puts it there): %w", err)
	}
	return string(data), nil
}

// Place makes the address of a page about something.
func Place(view, about string) string {
	parts := strings.Split(about, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return view + "/" + strings.Join(parts, "/")
}
