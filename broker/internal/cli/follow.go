package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// followEvery is how often what became of submitted jobs is looked at.
const followEvery = 2 * time.Second

// follow says of each job what it does, and again when that has another reason, until all
// have units or have ended.
func (o *submitOptions) follow(ctx context.Context, sent []submission) error {
	// What an explanation notes beside it would be said again and again.
	quiet := *o.session
	quiet.Streams.ErrOut = io.Discard
	ask, err := quiet.broker()
	if err != nil {
		return err
	}
	open := map[int]*explainOptions{}
	for i := range sent {
		sub := &sent[i]
		if !isJobKind(sub.kind.Kind) {
			o.note("note: %s is no job, and is not watched", sub)
			continue
		}
		open[i] = &explainOptions{session: &quiet, kind: lend.SubjectJob, jobKind: sub.kind, api: o.api, ask: ask}
		open[i].key.Namespace, open[i].key.Name = sub.object.GetNamespace(), sub.object.GetName()
	}
	tick := o.ticker().NewTicker(followEvery)
	defer tick.Stop()
	said := map[int]string{}
	for {
		for i := range sent {
			watched := open[i]
			if watched == nil {
				continue
			}
			e, err := watched.job(ctx)
			if ctx.Err() != nil {
				return nil // Ctrl-C is how one leaves; what was submitted stays so
			}
			if err != nil {
				return err
			}
			if now := fmt.Sprint(e.settled, e.Reason); now != said[i] {
				said[i] = now
				if _, err := fmt.Fprintln(o.Streams.Out, e.Sentence(o.Clock.Now())); err != nil {
					return fmt.Errorf("say what became of a job: %w", err)
				}
			}
			if e.settled {
				delete(open, i)
			}
		}
		if len(open) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
	}
}
