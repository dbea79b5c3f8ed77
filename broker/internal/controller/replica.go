package controller

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/internal/actuate"
	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/internal/replica"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// Ack says who must have an entry on disk before something is lent.
type Ack string

// The ways.
const (
	// AckLocal: the leader alone.
	AckLocal Ack = "Local"
	// AckReplica: a follower too.
	AckReplica Ack = "Replica"
)

// ReplicaConfig says where a leader serves its ledger to followers, which are brokers with
// the same configuration.
type ReplicaConfig struct {
	// BindAddress is host:port. Empty: there are no followers.
	BindAddress string `json:"bindAddress"`
	// AdvertiseHost is the IP address or name by which followers reach this broker; empty:
	// the host of BindAddress. The flag --replica-host sets it.
	AdvertiseHost string `json:"advertiseHost"`
}

func (c *LedgerConfig) validateReplica(is *checker, election bool) {
	on := c.Replica.BindAddress != ""
	is.want(c.Ack == AckLocal || c.Ack == AckReplica, "ledger.ack", c.Ack, "must be Local or Replica")
	is.want(c.Ack != AckReplica || on, "ledger.ack", c.Ack, "needs replica.bindAddress")
	is.positive("ledger.ackTimeout", c.AckTimeout)
	is.want(!on || validAddress(c.Replica.BindAddress), "ledger.replica.bindAddress", c.Replica.BindAddress, "must be host:port, or empty")
	is.want(!on || election, "ledger.replica.bindAddress", c.Replica.BindAddress, "needs leaderElection")
}

// Override puts the flags' values in place of the file's: --ledger-ack, in letters of any
// size, --replica-listen and --replica-host. Empty ones change nothing.
func (c *LedgerConfig) Override(ack, listen, host string, election bool) error {
	if ack != "" {
		c.Ack = Ack(ack)
	}
	for _, known := range []Ack{AckLocal, AckReplica} {
		if strings.EqualFold(ack, string(known)) {
			c.Ack = known
		}
	}
	c.Replica.BindAddress = cmp.Or(listen, c.Replica.BindAddress)
	c.Replica.AdvertiseHost = cmp.Or(host, c.Replica.AdvertiseHost)
	var is checker
	c.validateReplica(&is, election)
	if err := is.errs.ToAggregate(); err != nil {
		return fmt.Errorf("with --ledger-ack=%s --replica-listen=%s: %w", ack, listen, err)
	}
	return nil
}

// retryFollowing is after which time a leader is asked again that did not answer.
const retryFollowing = 500 * time.Millisecond

// replication is one broker's part in keeping the ledger twice.
type replication struct {
	config     LedgerConfig
	server     *replica.Server
	follower   *replica.Follower
	rendezvous *replica.Rendezvous
	shown      *tls.Certificate
	self       replica.Peer

	stopped chan struct{} // closed when this broker is about to lead
	stop    sync.Once
	ended   chan struct{} // closed when the follower has closed its file
}

// newReplication is nil without followers.
func (b *broker) newReplication(restConfig *rest.Config) (*replication, error) {
	c := b.config.Ledger
	if c.Replica.BindAddress == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(c.Replica.BindAddress)
	if err != nil {
		return nil, fmt.Errorf("ledger.replica.bindAddress: %w", err)
	}
	if c.Replica.AdvertiseHost != "" {
		host = c.Replica.AdvertiseHost
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return nil, fmt.Errorf("ledger.replica.advertiseHost: must say how followers reach this broker, which listens on %q; --replica-host=$(POD_IP) does", c.Replica.BindAddress)
	}
	address := net.JoinHostPort(host, port)
	shown, fingerprint, err := replica.NewCertificate(address)
	if err != nil {
		return nil, err
	}
	r := &replication{
		config: c, shown: &shown, server: replica.NewServer(c.AckTimeout.Duration),
		self:       replica.Peer{Name: address, URL: "https://" + address, Certificate: fingerprint},
		rendezvous: &replica.Rendezvous{Client: b.mgr.GetClient(), Live: b.mgr.GetAPIReader(), Namespace: b.namespace},
		stopped:    make(chan struct{}), ended: make(chan struct{}),
	}
	r.follower = &replica.Follower{
		Name: address, Files: replica.FilesOf(c.Path), Options: b.copyOptions(),
		Leader: r.rendezvous.Find, Published: b.published, Retry: retryFollowing,
		Client: func(p replica.Peer) (*http.Client, error) { return replica.NewClient(restConfig, p) },
	}
	if err := b.mgr.Add(everywhere(r.follow)); err != nil {
		return nil, fmt.Errorf("add the follower: %w", err)
	}
	b.board.following = r.ready
	metrics.Registry.MustRegister(r.collectors()...)
	return r, nil
}

func (r *replication) collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: "ledger", Name: name, Help: help},
			func() float64 { return float64(value()) })
	}
	return []prometheus.Collector{
		gauge("durable_sequence", "Number up to which a follower has acknowledged the ledger's entries; 0 on a follower, and while none is heard of.", r.server.Durable),
		gauge("replica_sequence", "Number of the last entry of this broker's copy; 0 until it has followed.", func() uint64 { return r.follower.Status().Seq }),
	}
}

// listener serves followers.
func (r *replication) listener(guard *access.Guard, log logr.Logger) *access.Server {
	return &access.Server{
		Name: "the ledger at ledger.replica.bindAddress", Address: r.config.Replica.BindAddress,
		Guard: guard, Own: r.shown, Log: log, Routes: replicaRoutes(r.server),
	}
}

func replicaRoutes(server *replica.Server) []access.Route {
	return []access.Route{
		{Pattern: "GET " + replica.PathRecords, Rule: access.Path, Handler: server.Handler()},
		{Pattern: "POST " + replica.PathAck, Rule: access.Path, Handler: server.Handler()},
	}
}

// follow is the life of a follower.
func (r *replication) follow(ctx context.Context) error {
	defer close(r.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-r.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	return r.follower.Run(ctx)
}

// ready says why a follower is not: a leader has answered, and the copy is not complete yet.
func (r *replication) ready() error {
	select {
	case <-r.stopped:
		return nil
	default:
	}
	if s := r.follower.Status(); s.Asked && !s.Synced && s.Err == nil {
		return fmt.Errorf("the copy of the ledger has %d entries, and is not complete yet", s.Seq)
	}
	return nil
}

// end ends following, and returns when the copy is closed.
func (r *replication) end(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.stop.Do(func() { close(r.stopped) })
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// promote makes the copy that this broker has of another's ledger its own, if it is the newer
// file: also where it has followed before, and there is one broker only now.
func (b *broker) promote(ctx context.Context) error {
	if err := b.replication.end(ctx); err != nil {
		return err
	}
	log := logr.FromContextOrDiscard(ctx)
	head, err := b.published(ctx)
	if err != nil && !errors.Is(err, published.ErrUnreadable) {
		// It is asked again: the file that is put aside now does not come back by itself.
		return fmt.Errorf("choose between the ledger and its copy: %w", err)
	}
	if err != nil {
		// What cannot be read is no reason not to lead: nothing new is lent then.
		log.Error(err, "It is not known what was published; of the ledger and its copy the one of the later epoch counts")
	}
	promoted, err := replica.FilesOf(b.config.Ledger.Path).Promote(head, b.copyOptions())
	if err != nil {
		return fmt.Errorf("nothing is lent without a sound ledger: %w", err)
	}
	if promoted {
		log.Info("The copy is the ledger from now on")
	}
	return nil
}

// published is what others know of the ledger.
func (b *broker) published(ctx context.Context) (published.Head, error) {
	return (&published.Lease{Live: b.mgr.GetAPIReader(), Namespace: b.namespace, Clock: b.clock}).Read(ctx)
}

// copyOptions are those of the copy. What the ledger says of itself it says when it is one.
func (b *broker) copyOptions() segments.Options {
	return segments.Options{Options: ledger.Options{Clock: b.clock}}
}

// lead serves the book to followers. What it returns waits until they have all of it, or for
// as long as they may take, and ends that.
func (r *replication) lead(ctx context.Context, book replica.Book, actuator *actuate.Actuator, o *outside) (stop func(), err error) {
	if r == nil {
		return func() {}, nil
	}
	r.server.Lead(book)
	if r.config.Ack == AckReplica {
		other := actuator.MayLend
		actuator.MayLend = func() error {
			if err := other(); err != nil {
				return err
			}
			return r.server.MayLend()
		}
		actuator.Durable, actuator.Secure, o.secure = r.server.Durable, r.server.Wait, r.server.Wait
	}
	if err := r.rendezvous.Announce(ctx, r.self); err != nil {
		r.server.Lead(nil)
		return nil, err
	}
	return func() {
		seq, _ := book.Head()
		if err := r.server.Wait(context.WithoutCancel(ctx), seq); err != nil {
			logr.FromContextOrDiscard(ctx).Info("The ledger's last entries are on this disk only", "why", err.Error())
		}
		r.server.Lead(nil)
	}, nil
}
