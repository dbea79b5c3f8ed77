package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ebbtide/ebbtide/e2e/ui/browser"
	"github.com/ebbtide/ebbtide/e2e/ui/check"
	"github.com/ebbtide/ebbtide/e2e/ui/town"
)

// mostBytes of a picture in the docs.
const mostBytes = 150_000

// moment at which the pictures' town stands still, so that taking them again gives the same.
var moment = time.Date(2026, 11, 22, 13, 30, 0, 0, time.UTC)

// shots are the pictures, by file, of the places and how they are looked at.
var shots = []struct {
	file, place string
	look        browser.Look
}{
	{"overview", "overview", browser.Look{Width: 1200, Height: 720}},
	{"picture", "picture?range=24h", browser.Look{Width: 1200, Height: 660}},
	{"loans-dark", "loans", browser.Look{Width: 1200, Height: 600, Dark: true}},
	{"queue", "queue", browser.Look{Width: 1200, Height: 560}},
	{"quota", "quota", browser.Look{Width: 1200, Height: 480}},
	{"job", "job", browser.Look{Width: 1200, Height: 640}},
	{"node", "node/mig-0", browser.Look{Width: 1200, Height: 700}},
	{"phone", "overview", browser.Look{Width: 360, Height: 740}},
	{"phone-dark", "picture?range=24h", browser.Look{Width: 360, Height: 740, Dark: true}},
}

func screenshots(ctx context.Context, root, folder string) error {
	if folder == "" {
		folder = filepath.Join(root, "docs/images")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	s, end, err := start(ctx, root)
	if err != nil {
		return err
	}
	defer end()
	m := newMade(root, town.Small(moment))
	defer m.server.Close()
	for _, shot := range shots {
		place := shot.place
		if place == "job" {
			place = m.places()["job"]
		}
		png, err := take(s, m, place, shot.look)
		if err != nil {
			return fmt.Errorf("take %s: %w", shot.file, err)
		}
		if len(png) > mostBytes {
			return fmt.Errorf("%s is %d bytes large, want %d at most", shot.file, len(png), mostBytes)
		}
		file := filepath.Join(folder, "dashboard-"+shot.file+".png")
		if err := os.WriteFile(file, png, 0o644); err != nil {
			return err
		}
		fmt.Printf("%s %d\n", file, len(png))
	}
	return nil
}

// take is a picture of a place, whose clock stands still at the town's moment.
func take(s *check.Suite, m *made, place string, look browser.Look) ([]byte, error) {
	p, closed, err := s.Browser.Page(look)
	if err != nil {
		return nil, err
	}
	defer closed()
	if err := p.Stand(moment); err != nil {
		return nil, err
	}
	if err := s.Enter(p, m.as(town.Everybody), place); err != nil {
		return nil, err
	}
	if err := p.Wait(`document.querySelector(".status.live") && document.fonts.status === "loaded"`); err != nil {
		return nil, err
	}
	return p.Picture()
}
