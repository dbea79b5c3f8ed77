package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger"
)

// OldFile is what a leader does whose ledger has less than was published.
type OldFile string

// The ways.
const (
	// OldFileRefuse: nothing new is lent; what is lent is taken back as ever.
	OldFileRefuse OldFile = "Refuse"
	// OldFileGap: a GAP says which entries are missing, and the ledger goes on from its own.
	OldFileGap OldFile = "Gap"
)

// outside is what others know of the ledger.
type outside struct {
	lease *published.Lease
	book  published.Book
	shown *headMetrics
	id    string
	// others: there may be a broker that has what this one lacks.
	others bool
	// gap is the GAP entry to write; nil: none.
	gap *ledger.Entry
	// refused is why nothing may be lent and nothing is published: what was published is
	// all that is known of the entries that are missing. nil: all is well.
	refused error
	// secure, if set, waits until a follower has an entry, or has not taken it in time. What
	// is published then is what somebody has if this volume is lost.
	secure func(ctx context.Context, seq uint64) error
}

// errElsewhere: this broker has nothing of the ledger, and another one may have it.
var errElsewhere = errors.New("another broker may have the ledger that was published")

// compare looks whether the ledger has what was published. If it does not, and goes on
// nevertheless, there is a GAP to write. The error is errElsewhere if it is not to lead.
func (o *outside) compare(before published.Head, how OldFile) error {
	h, err := published.HeadOf(o.book)
	if err != nil {
		return err
	}
	o.id = h.ID
	missing, err := published.Compare(o.book, before)
	if err != nil || missing == nil {
		return err
	}
	if missing.New && o.others && how != OldFileGap {
		// Whoever has them is to lead. Before it is restarted for the first time as one of two
		// brokers, it serves nobody, and the other one has an empty volume.
		return fmt.Errorf("%w: entries up to %d, and there is none of them here; it does not lead unless it is started with ledger.onOldFile: Gap",
			errElsewhere, missing.To)
	}
	if !missing.New && how != OldFileGap {
		o.refuse(fmt.Errorf("entries %d to %d of the ledger were published, and are not in it: %s. Nothing new is lent until the newest file is put back, or the broker is started with ledger.onOldFile: Gap",
			missing.From, missing.To, missing.Why))
		return nil
	}
	payload, err := json.Marshal(missing)
	if err != nil {
		return fmt.Errorf("write what is missing: %w", err)
	}
	o.gap = &ledger.Entry{
		Kind: ledger.Gap, OpID: missing.OpID(), Reason: "EntriesMissing", Payload: payload,
		Message: fmt.Sprintf("entries %d to %d were published, and are not in this ledger: %s", missing.From, missing.To, missing.Why),
	}
	return nil
}

func (o *outside) refuse(why error) {
	o.refused = why
	o.shown.refused.Set(1)
}

// mayLend is an Actuator's MayLend.
func (o *outside) mayLend() error { return o.refused }

// publish tells others how far the ledger is. That it did not work is no reason to decide
// nothing: it is tried again after the next decision. The error wraps ErrStop if another
// leads.
func (o *outside) publish(ctx context.Context, epoch int64) error {
	h := published.Head{ID: o.id, Epoch: epoch}
	h.Seq, h.Hash = o.book.Head()
	if o.secure != nil {
		if err := o.secure(ctx, h.Seq); err != nil {
			logr.FromContextOrDiscard(ctx).V(2).Info("The head is published without a follower", "why", err.Error())
		}
	}
	o.shown.show(h)
	if o.refused != nil {
		return nil //nolint:nilerr // it stands since the start, and is told there
	}
	err := o.lease.Publish(ctx, h)
	switch {
	case errors.Is(err, published.ErrOvertaken):
		return fmt.Errorf("%w: %w", actuate.ErrStop, err)
	case err != nil:
		logr.FromContextOrDiscard(ctx).Error(err, "The ledger's head is published again after the next decision")
	}
	return nil
}

// beginEpoch reads what was published, finds the epoch, and compares the ledger with it.
func (b *broker) beginEpoch(ctx context.Context, book published.Book) (*outside, int64, error) {
	o := &outside{
		lease: &published.Lease{Client: b.mgr.GetClient(), Live: b.mgr.GetAPIReader(), Namespace: b.namespace, Clock: b.clock},
		book:  book, shown: b.metrics.outside, others: b.replication != nil,
	}
	o.shown.refused.Set(0)
	before, err := o.lease.Read(ctx)
	if errors.Is(err, published.ErrUnreadable) {
		o.refuse(fmt.Errorf("it is not known whether the ledger has all that was published: %w. Nothing new is lent until the Lease is as it was, or deleted", err))
	} else if err != nil {
		return nil, 0, err
	}
	epoch, err := b.epoch(ctx, book, before.Epoch)
	if err != nil {
		return nil, 0, err
	}
	if err := o.compare(before, b.config.Ledger.OnOldFile); err != nil {
		return nil, 0, fmt.Errorf("compare the ledger with what was published: %w", err)
	}
	if o.refused != nil {
		b.mgr.GetLogger().Error(o.refused, "Nothing new is lent")
	} else if o.gap != nil {
		b.mgr.GetLogger().Info("Entries are missing that were published; the ledger says so and goes on", "gap", string(o.gap.Payload))
	}
	return o, epoch, nil
}

// epoch numbers the leaders: one more than any that left a trace, in what it made or in what
// it wrote last, since a status of a lower one is refused. The ledger may have lost the last
// ones, the Lease may have been deleted, and neither Loan nor LendingPolicy may be there; all
// of that at once leaves nothing that an old leader could do harm to.
func (b *broker) epoch(ctx context.Context, book interface{ Epoch() int64 }, published int64) (int64, error) {
	last := max(book.Epoch(), published)
	if b.config.LeaderElection.Enabled {
		lease, err := b.lease(ctx)
		if err != nil {
			return 0, fmt.Errorf("read the epoch: %w", err)
		}
		if n := lease.Spec.LeaseTransitions; n != nil {
			last = max(last, int64(*n))
		}
	}
	var loans v1alpha1.LoanList
	if err := b.mgr.GetAPIReader().List(ctx, &loans); err != nil {
		return 0, fmt.Errorf("read the epochs of Loans: %w", err)
	}
	for i := range loans.Items {
		last = max(last, loans.Items[i].Spec.Epoch, loans.Items[i].Status.Epoch)
	}
	var policies v1alpha1.LendingPolicyList
	if err := b.mgr.GetAPIReader().List(ctx, &policies); err != nil {
		return 0, fmt.Errorf("read the epochs of LendingPolicies: %w", err)
	}
	for i := range policies.Items {
		last = max(last, policies.Items[i].Status.Epoch)
	}
	return last + 1, nil
}

// headMetrics show how far the ledger is.
type headMetrics struct {
	sequence, refused prometheus.Gauge
	info              *prometheus.GaugeVec
}

func newHeadMetrics(registry prometheus.Registerer) *headMetrics {
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: namespace, Subsystem: "ledger", Name: name, Help: help}
	}
	m := &headMetrics{
		sequence: prometheus.NewGauge(gauge("head_sequence", "Number of the ledger's last entry.")),
		refused:  prometheus.NewGauge(gauge("refused", "1 while nothing new is lent because the ledger does not have what was published, or that cannot be read.")),
		info:     prometheus.NewGaugeVec(gauge("head_info", "The ledger, and the number and hash of its last entry, to compare with a file: always 1."), []string{"id", "head"}),
	}
	registry.MustRegister(m.sequence, m.refused, m.info)
	return m
}

func (m *headMetrics) show(h published.Head) {
	m.sequence.Set(float64(h.Seq))
	m.info.Reset()
	m.info.WithLabelValues(h.ID, h.String()).Set(1)
}
