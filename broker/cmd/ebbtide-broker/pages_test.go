package main

import (
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/arch"
)

// Every command that a page shows is one that there is.
func TestPagesShowCommandsThatExist(t *testing.T) {
	pages, err := arch.Pages("../../..")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, page := range pages {
		for _, words := range page.Commands("ebbtide-broker") {
			if _, err := arch.Parse(newCommand(), words); err != nil {
				t.Errorf("%s: ebbtide-broker %s: %v", page.Path, strings.Join(words, " "), err)
			}
			shown++
		}
	}
	if shown < 15 {
		t.Errorf("%d commands were read, want at least 15", shown)
	}
}
