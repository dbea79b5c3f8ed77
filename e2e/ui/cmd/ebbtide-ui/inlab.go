package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/e2e/ui/check"
	"github.com/ebbtide/ebbtide/e2e/ui/town"
)

// inLab tries the dashboard with a broker that lends for real.
func inLab(ctx context.Context, s *check.Suite, root string, r *result) (err error) {
	l, stop, err := startLab(ctx, root)
	if stop != nil {
		defer func() { err = errors.Join(err, stop()) }()
	}
	if err != nil {
		return err
	}
	auditor, err := l.token(ctx, "ebbtide-system", "auditor", "ebbtide-auditor", true)
	if err != nil {
		return err
	}
	mine, others := l.teams[0], l.teams[1]
	viewer, err := l.token(ctx, mine, "viewer", "view", false)
	if err != nil {
		return err
	}
	for _, team := range l.teams[:2] {
		for _, job := range []string{"small", "wide"} {
			if err := l.submit(ctx, team, job, 1, 2); err != nil {
				return err
			}
		}
	}
	if err := l.submit(ctx, mine, "too-large", 12, 8); err != nil {
		return err
	}
	var loans struct {
		Loans []struct{ Name, Job, State string } `json:"loans"`
	}
	if err := l.await(ctx, auditor, "/loans", &loans, func() bool { return len(loans.Loans) == 4 }); err != nil {
		return err
	}
	all := check.Server{URL: l.url, Token: auditor}
	if err := l.header(ctx, s); err != nil {
		return err
	}
	if err := l.live(ctx, s, all, mine, r); err != nil {
		return err
	}
	s.Part(check.Server{URL: l.url, Token: viewer}, mine, []string{others})
	if err := l.recall(ctx); err != nil {
		return err
	}
	var lenders struct {
		Lenders []struct {
			Recall *struct {
				Keep int64 `json:"keep"`
			} `json:"recall"`
		} `json:"lenders"`
	}
	kept := func() bool {
		return len(lenders.Lenders) > 0 && lenders.Lenders[0].Recall != nil && lenders.Lenders[0].Recall.Keep == 1
	}
	if err := l.await(ctx, auditor, "/lenders", &lenders, kept); err != nil {
		return err
	}
	if err := l.shapes(ctx, s, auditor); err != nil {
		return err
	}
	s.Keeps(all, "serving/chat", "recall: 1,")
	s.Places(all, map[string]string{
		"overview": "overview", "picture": "picture?range=1h", "loans": "loans", "queue": "queue", "lenders": "lenders", "quota": "quota", "nodes": "nodes", "statements": "statements",
		"lender": check.Place("lender", "serving/chat"), "loan": check.Place("loan", loans.Loans[0].Name), "job": check.Place("job", mine+"/too-large"), "node": "node/gpu-000",
	})
	return nil
}

// header tries that the broker sends the page with the policy that the made one has.
func (l *lab) header(ctx context.Context, s *check.Suite) error {
	got, err := l.ask(ctx, "", "/ui/", nil)
	if err != nil {
		return err
	}
	if got.Get("Content-Security-Policy") != policy {
		s.Fail("the broker's policy is %q, want %q", got.Get("Content-Security-Policy"), policy)
	}
	return nil
}

// live measures how long a job that is submitted, and one that is deleted, takes to be shown.
func (l *lab) live(ctx context.Context, s *check.Suite, all check.Server, team string, r *result) error {
	p, closed, err := s.Visit(all, check.Looks["wide light"], "loans")
	if err != nil {
		return err
	}
	defer closed()
	s.Await(p, "in the lab", "the page is live", `document.querySelector(".status.live")`)
	r.LiveUpdate = quickest(func(round int) time.Duration {
		job := fmt.Sprint("fresh-", round)
		shown := fmt.Sprintf(`[...document.querySelectorAll(".rows tbody th")].some((th) => th.innerText === %q)`, team+"/"+job)
		came := s.Change(p, "in the lab", shown, func() (time.Time, error) {
			return time.Now(), l.submit(ctx, team, job, 1, 1)
		})
		went := s.Change(p, "in the lab", "!"+shown, func() (time.Time, error) {
			at := time.Now()
			_, err := l.kubectl(ctx, l.users[team], "", "delete", "job", job, "-n", team, "--cascade=foreground", "--wait=false")
			return at, err
		})
		s.Logf("in the lab: a loan is shown %d ms after its job was submitted, and is gone %d ms after that was deleted", came.Milliseconds(), went.Milliseconds())
		return max(came, went)
	}).Milliseconds()
	s.Errors(p, "in the lab")
	return nil
}

// recall has the service keep a unit by hand, so that there is a lender that does.
func (l *lab) recall(ctx context.Context) error {
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	_, err := l.kubectl(ctx, l.admin, "", "patch", "lendingpolicy", "chat", "-n", "serving", "--type", "merge", "-p", fmt.Sprintf(`{"spec":{"recall":{"keep":1,"until":%q}}}`, until))
	return err
}

// shapes tries that the made broker speaks as the real one: whatever field all of its rows
// have, some row of the real one's has, and so has what stands in a field that the real one's
// have too.
func (l *lab) shapes(ctx context.Context, s *check.Suite, token string) error {
	made := town.New(town.Small(time.Now()))
	for path, field := range map[string]string{"/loans": "loans", "/nodes": "nodes", "/lenders": "lenders", "/queue": "jobs", "/quota": "rows", "/timeline": "spans"} {
		var real map[string]any
		if _, err := l.ask(ctx, token, path, &real); err != nil {
			return err
		}
		fake, err := made.Answer(path, town.Everybody)
		if err != nil {
			return err
		}
		has := town.Fields(real[field], false)
		if path == "/lenders" && !(has["recall"] && has["floors"]) {
			s.Fail("GET %s: no lender keeps units, though one is told to", path)
		}
		for name := range town.Fields(fake[field], true) {
			if dot := strings.LastIndexByte(name, '.'); dot > 0 && !has[name[:dot]] {
				continue // of things that are not in the lab
			}
			if !has[name] {
				s.Fail("GET %s: the made broker's %s all have %s, and none of the real one's has", path, field, name)
			}
		}
	}
	return nil
}
