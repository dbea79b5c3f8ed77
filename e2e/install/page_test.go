package install_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/docs"
)

// page is what docs/tasks/install.md tells people to type, and what it says that stays.
type page struct {
	text   string
	blocks []docs.Block
}

func readPage(t *testing.T, root string) *page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/tasks/install.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := docs.Blocks(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return &page{text: string(text), blocks: blocks}
}

// commands are those of a section that begin with a program, as the page has them.
func (p *page) commands(t *testing.T, section, program string) string {
	t.Helper()
	from, to := p.section(t, section)
	for _, b := range p.blocks {
		if b.Language == docs.Shell && b.Line > from && b.Line < to && strings.HasPrefix(b.Text, program+" ") {
			return b.Text
		}
	}
	t.Fatalf("the page has no commands of %s under %q", program, section)
	return ""
}

// section is the lines between which one stands.
func (p *page) section(t *testing.T, title string) (from, to int) {
	t.Helper()
	lines := strings.Split(p.text, "\n")
	from = slices.Index(lines, "## "+title) + 1
	if from == 0 {
		t.Fatalf("the page has no section %q", title)
	}
	for to = from; to < len(lines) && !strings.HasPrefix(lines[to], "## "); {
		to++
	}
	return from, to
}

// kinds are those of the page's table of what is left, as an inventory names them.
var kinds = map[string]string{
	"CustomResourceDefinition": "customresourcedefinitions.apiextensions.k8s.io /",
	"PersistentVolumeClaim":    "persistentvolumeclaims ebbtide-system/",
	"Lease":                    "leases.coordination.k8s.io ebbtide-system/",
	"Namespace":                "namespaces /",
}

// remains are what an uninstall leaves behind: whatever was installed, and with two brokers;
// and the commands by which it goes.
type remains struct {
	always, two, away []string
}

var quoted = regexp.MustCompile("`([^`]+)`")

// left reads the table of what an uninstall leaves behind.
func (p *page) left(t *testing.T) (r remains) {
	t.Helper()
	from, to := p.section(t, "Uninstall")
	for _, line := range strings.Split(p.text, "\n")[from:to] {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 4 || cells[0] == "kind" {
			continue
		}
		prefix, found := kinds[cells[0]]
		if !found {
			t.Fatalf("kind %q of what is left is not known here", cells[0])
		}
		always, two, _ := strings.Cut(cells[1], "with two brokers")
		r.always = append(r.always, names(prefix, always)...)
		r.two = append(r.two, names(prefix, two)...)
		r.away = append(r.away, names("", cells[3])...)
	}
	if len(r.always) < 8 || len(r.two) < 2 || len(r.away) < 2 {
		t.Fatalf("the page's table of what is left has %+v, which cannot be all", r)
	}
	// The API server makes it of the definitions.
	r.always = append(r.always, "apiservices.apiregistration.k8s.io /v1alpha1.ebbtide.dev")
	slices.Sort(r.always)
	return r
}

func names(prefix, cell string) (all []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, prefix+m[1])
	}
	return all
}
