// Package browser drives a headless Chromium for the dashboard's tests.
//
// It promises that what a page says on the console as an error or a warning, throws without
// catching, or asks for in vain is kept, so that a test can say that there was none; that each
// Page is alone, without the storage of another; and that the browser ends with its context.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// names of the program, by system.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// Find is the path of a Chromium on this machine.
func Find() (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium here: install one, on Debian by apt-get install -y --no-install-recommends chromium")
}

// Browser is a running Chromium.
type Browser struct{ ctx context.Context }

// Start starts one with its profile in a folder. It runs until end is called, or ctx ends.
// Certificates are not verified: what a lab's broker shows is known to nobody else.
func Start(ctx context.Context, folder string) (b *Browser, end func(), err error) {
	path, err := Find()
	if err != nil {
		return nil, nil, err
	}
	options := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	options = append(options, chromedp.ExecPath(path), chromedp.UserDataDir(folder), chromedp.IgnoreCertErrors,
		chromedp.NoSandbox, // a container has no namespaces to give, and what is loaded is ours
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("font-render-hinting", "none"),
		chromedp.WSURLReadTimeout(time.Minute))
	allocated, stop := chromedp.NewExecAllocator(ctx, options...)
	running, cancel := chromedp.NewContext(allocated)
	end = func() {
		cancel()
		stop()
	}
	if err := chromedp.Do(running); err != nil {
		end()
		return nil, nil, fmt.Errorf("start %s: %w", path, err)
	}
	return &Browser{running}, end, nil
}

// Version is the browser's own name.
func (b *Browser) Version() (string, error) {
	v, err := chromedp.CallBrowser(b.ctx, browser.GetVersion, cdp.Empty{})
	if err != nil {
		return "", fmt.Errorf("ask for the version: %w", err)
	}
	return v.Product, nil
}

// Page opens an empty tab with storage of its own, until closed is called.
func (b *Browser) Page(look Look) (p *Page, closed func(), err error) {
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	p = &Page{ctx: ctx}
	if err := p.begin(look); err != nil {
		cancel()
		return nil, nil, fmt.Errorf("open a tab: %w", err)
	}
	return p, cancel, nil
}
