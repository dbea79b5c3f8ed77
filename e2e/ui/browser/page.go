package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Page is a tab.
type Page struct {
	ctx context.Context

	mu     sync.Mutex
	errors []string
}

// Look is how a page is shown.
type Look struct {
	Width, Height int64
	Dark          bool
	// Scale is the number of the screen's pixels to one of the page; 0 is 1.
	Scale float64
}

func (p *Page) begin(look Look) error {
	if err := chromedp.Listen(p.ctx, p.heard); err != nil {
		return err
	}
	_, err := chromedp.Call(p.ctx, log.Enable, cdp.Empty{})
	if err == nil {
		_, err = chromedp.Call(p.ctx, runtime.Enable, cdp.Empty{})
	}
	if err != nil {
		return err
	}
	if _, err := chromedp.Call(p.ctx, performance.Enable, performance.EnableParams{TimeDomain: "threadTicks"}); err != nil {
		return err
	}
	return p.Look(look)
}

// Look changes how the page is shown. Nothing moves: a picture is of what is there.
func (p *Page) Look(look Look) error {
	scheme := "light"
	if look.Dark {
		scheme = "dark"
	}
	scale := look.Scale
	if scale == 0 {
		scale = 1
	}
	_, err := chromedp.Call(p.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: look.Width, Height: look.Height, DeviceScaleFactor: scale})
	if err == nil {
		_, err = chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
	}
	if err != nil {
		return fmt.Errorf("set the look: %w", err)
	}
	return nil
}

// heard keeps what goes wrong in the page.
func (p *Page) heard(event any) {
	var text string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = "thrown: " + said(e.ExceptionDetails)
	case *runtime.EventConsoleAPICalled:
		if e.Type != "error" && e.Type != "assert" && e.Type != "warning" {
			return
		}
		var parts []string
		for _, arg := range e.Args {
			parts = append(parts, string(arg.Value)+arg.Description)
		}
		text = fmt.Sprintf("console %s: %s", e.Type, strings.Join(parts, " "))
	case *log.EventEntryAdded:
		if e.Entry.Level != "error" && e.Entry.Level != "warning" {
			return
		}
		text = fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, text)
}

func said(e *runtime.ExceptionDetails) string {
	if e.Exception != nil {
		return e.Text + " " + e.Exception.Description
	}
	return e.Text
}

// Errors are what went wrong since the last call.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.errors
	p.errors = nil
	return found
}

// Open goes to an address.
func (p *Page) Open(url string) error {
	if err := chromedp.Do(p.ctx, chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("open %s: %w", url, err)
	}
	return nil
}

// Eval evaluates an expression, waits for it if it is a promise, and decodes what it gives
// into result, which may be nil.
func (p *Page) Eval(expression string, result any) error {
	yes := true
	got, err := chromedp.Call(p.ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: expression, AwaitPromise: &yes, ReturnByValue: &yes})
	if err == nil && got.ExceptionDetails != nil {
		err = errors.New(said(got.ExceptionDetails))
	}
	if err == nil && result != nil {
		err = json.Unmarshal(got.Result.Value, result)
	}
	if err != nil {
		return fmt.Errorf("evaluate %.80q: %w", expression, err)
	}
	return nil
}

const (
	// patience is how long is waited for what must come. It matters in failure only.
	patience = 90 * time.Second
	between  = 20 * time.Millisecond
)

// Wait waits until an expression is true. It asks from outside, as the page's policy lets
// nobody make code of text inside.
func (p *Page) Wait(condition string) error {
	end := time.Now().Add(patience)
	every := time.NewTicker(between)
	defer every.Stop()
	for {
		var holds bool
		if err := p.Eval("Boolean("+condition+")", &holds); err != nil {
			return err
		}
		if holds {
			return nil
		}
		if time.Now().After(end) {
			var text string
			_ = p.Eval(`document.body.innerText.slice(0, 600)`, &text) // what is there instead
			return fmt.Errorf("wait for %s: it does not come; the page shows %q", condition, text)
		}
		select {
		case <-p.ctx.Done():
			return p.ctx.Err()
		case <-every.C:
		}
	}
}

// Press presses keys, as chromedp/kb names them.
func (p *Page) Press(keys string) error {
	if err := chromedp.Do(p.ctx, chromedp.KeyEvent(keys)); err != nil {
		return fmt.Errorf("press keys: %w", err)
	}
	return nil
}

// Picture is the page as a PNG, as far as it is in sight.
func (p *Page) Picture() ([]byte, error) {
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return nil, fmt.Errorf("take a picture: %w", err)
	}
	return png, nil
}

// Stand makes the page's clock stand still at a moment, for pages opened from now on.
func (p *Page) Stand(at time.Time) error {
	source := fmt.Sprintf(`{ const now = %d; const Real = Date; globalThis.Date = class extends Real { constructor(...a) { super(...(a.length ? a : [now])); } static now() { return now; } }; }`, at.UnixMilli())
	_, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: source})
	if err != nil {
		return fmt.Errorf("stop the page's clock: %w", err)
	}
	return nil
}

// Worked is how long the page's thread has been at work so far, in the processor's time.
func (p *Page) Worked() (time.Duration, error) {
	got, err := chromedp.Call(p.ctx, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		return 0, fmt.Errorf("ask for the page's work: %w", err)
	}
	for _, m := range got.Metrics {
		if m.Name == "TaskDuration" {
			return time.Duration(m.Value * float64(time.Second)), nil
		}
	}
	return 0, errors.New("the browser does not say how long the page worked")
}
