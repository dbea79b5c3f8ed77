package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/broker/access"
)

// How many may watch, and for how long.
const (
	mostWatchers  = 100
	mostOfOne     = 8
	watchedFor    = time.Hour
	heartbeat     = 15 * time.Second
	againEvery    = time.Minute
	rightsFor     = 5 * time.Minute
	writeDeadline = 10 * time.Second
)

// Connections is how many a listener of the API needs, so that those who watch shut out nobody
// else.
const Connections = mostWatchers + 128

// pulse is those times; tests make them short.
type pulse struct{ watched, heartbeat, again, rights time.Duration }

// changes are what has changed of what a caller sees, by the words of the API.
type changes struct {
	DecidedAt time.Time `json:"decidedAt"`
	Changed   []string  `json:"changed"`
}

// watch tells a caller of each decision after which something that he sees is otherwise.
func (s *server) watch(w http.ResponseWriter, r *http.Request, _ *Decision) {
	caller := access.CallerOf(r.Context())
	if !s.watchers.Enter(caller.Name()) {
		tooMany(w, "too many watch; ask again in a moment")
		return
	}
	defer s.watchers.Leave(caller.Name())
	v := &watching{server: s, caller: caller, w: w, stream: http.NewResponseController(w), since: time.Now()}
	if err := v.look(r.Context(), caller); err != nil {
		refuse(w, caller, "", err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	// Both are for requests that end soon; every write has a deadline of its own.
	_ = v.stream.SetReadDeadline(time.Time{})
	v.run(r.Context())
}

// watching is one caller who watches.
type watching struct {
	*server
	caller *access.Caller
	w      http.ResponseWriter
	stream *http.ResponseController
	since  time.Time
	// mine and see are what he may see, asked for at asked.
	mine  *rows
	see   *scope
	asked time.Time
	// shown is what he was last told of, and entries the ledger's head then.
	shown   [lists]uint64
	entries uint64
}

// look asks what the caller may see.
func (v *watching) look(ctx context.Context, caller *access.Caller) error {
	everywhere, err := caller.MayList(ctx, access.Everywhere)
	if err != nil {
		return err
	}
	v.caller, v.asked = caller, time.Now()
	if everywhere {
		v.mine, v.see = &rows{}, &scope{all: true}
		return nil
	}
	v.mine = &rows{in: map[string]bool{}, ask: func(namespace string) (bool, error) { return caller.MayList(ctx, namespace) }}
	v.see, err = within(ctx, caller, v.source.Namespaces())
	return err
}

// run ends when the caller has gone or may no more, when nobody decides here any more, and
// after an hour.
func (v *watching) run(ctx context.Context) {
	changed := v.source.Changed() // before the decision is read, so that none is missed
	d := v.source.Decision()
	if d == nil || !v.write([]byte("retry: 2000\n\n")) || !v.tell(d, true) {
		return
	}
	beat, again := time.NewTicker(v.pulse.heartbeat), time.NewTicker(v.pulse.again)
	defer beat.Stop()
	defer again.Stop()
	end := time.NewTimer(v.pulse.watched)
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-beat.C:
			if !v.write([]byte(": \n\n")) {
				return
			}
		case <-again.C:
			if !v.stillMay(ctx) {
				return
			}
		case <-changed:
			changed = v.source.Changed()
			if d = v.source.Decision(); d == nil || !v.tell(d, false) {
				return
			}
		}
	}
}

// stillMay asks whether the caller is known still, and now and then what he may see.
func (v *watching) stillMay(ctx context.Context) bool {
	caller, err := v.caller.Again(ctx)
	if err != nil {
		return false
	}
	if time.Since(v.asked) < v.pulse.rights {
		return true
	}
	if v.look(ctx, caller) != nil {
		return false
	}
	d := v.source.Decision()
	return d != nil && v.tell(d, false) // what he may see no more has gone for him
}

// tell says what is otherwise than it was told before.
func (v *watching) tell(d *Decision, first bool) bool {
	sums := v.digests.about(d).seen(v.mine)
	if v.mine.err != nil {
		return false
	}
	event := changes{DecidedAt: d.Record.Snapshot.Now, Changed: []string{}}
	for i, name := range [lists]string{listLenders: "lenders", listQueue: "queue", listLoans: "loans"} {
		if first || sums[i] != v.shown[i] {
			event.Changed = append(event.Changed, name)
		}
	}
	v.shown = sums
	if v.booked() || first {
		event.Changed = append(event.Changed, "ledger")
	}
	if len(event.Changed) == 0 {
		return true
	}
	text, err := json.Marshal(event)
	if err != nil {
		return false
	}
	return v.write(bytes.Join([][]byte{[]byte("event: change\ndata: "), text, []byte("\n\n")}, nil))
}

// booked: there is an entry of the ledger since he was last told that he may see.
func (v *watching) booked() bool {
	l := v.source.Ledger()
	if l == nil {
		return false
	}
	before := v.entries
	v.entries, _ = l.Head()
	if v.entries <= before || v.see.all {
		return v.entries != before
	}
	added, err := v.see.ofTenants(l, before+1, 1)
	return err == nil && len(added) > 0
}

func (v *watching) write(text []byte) bool {
	_ = v.stream.SetWriteDeadline(time.Now().Add(writeDeadline)) // a recorder has none
	if _, err := v.w.Write(text); err != nil {
		return false
	}
	return v.stream.Flush() == nil
}
