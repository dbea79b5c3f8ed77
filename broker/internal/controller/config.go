package controller

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/internal/extmetrics"
	"github.com/ebbtide/ebbtide/broker/internal/guard"
	"github.com/ebbtide/ebbtide/broker/internal/prewarm"
	"github.com/ebbtide/ebbtide/broker/lend"
)

// The kind of the configuration file.
const (
	ConfigAPIVersion = "ebbtide.dev/v1alpha1"
	ConfigKind       = "BrokerConfiguration"
)

// Config is the broker's configuration file. A field that is absent has the
// value of DefaultConfig.
type Config struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Advise has every LendingPolicy only advise, whatever its mode.
	Advise bool `json:"advise"`
	// Interval between decisions without an event, and between polls of Prometheus.
	Interval metav1.Duration `json:"interval"`
	// Debounce is how long events are gathered before the decision they cause. While
	// online pods arrive it begins anew, up to four times its length.
	Debounce       metav1.Duration  `json:"debounce"`
	Prometheus     PrometheusConfig `json:"prometheus"`
	Signals        SignalsConfig    `json:"signals"`
	Ledger         LedgerConfig     `json:"ledger"`
	HTTP           Serving          `json:"http"`
	Metrics        Endpoint         `json:"metrics"`
	HealthProbe    Endpoint         `json:"healthProbe"`
	LeaderElection LeaderElection   `json:"leaderElection"`
	Client         ClientConfig     `json:"client"`
	Policy         PolicyConfig     `json:"policy"`
	FairSharing    FairSharing      `json:"fairSharing"`
	Hooks          HooksConfig      `json:"hooks"`
	Reshape        ReshapeConfig    `json:"reshape"`
	// ExternalMetrics is the training demand as an external metrics API.
	ExternalMetrics extmetrics.Config `json:"externalMetrics"`
	Record          RecordConfig      `json:"record"`
	// AdmissionPolicies says which of Ebbtide's admission policies were changed on purpose.
	AdmissionPolicies AdmissionPoliciesConfig `json:"admissionPolicies"`
}

// AdmissionPoliciesConfig is about the policies without which nothing new is lent.
type AdmissionPoliciesConfig struct {
	// Accept are digests of policies and bindings that an administrator has changed and
	// stands by, as the broker says them, by "Kind name".
	Accept map[string]string `json:"accept"`
}

// validate names each field that is wrong.
func (c *AdmissionPoliciesConfig) validate() (errs field.ErrorList) {
	path, shipped := field.NewPath("admissionPolicies", "accept"), guard.Shipped()
	for _, name := range slices.Sorted(maps.Keys(c.Accept)) {
		if shipped[name] == "" {
			errs = append(errs, field.NotSupported(path, name, slices.Sorted(maps.Keys(shipped))))
		}
		if digest := c.Accept[name]; !digestForm.MatchString(digest) {
			errs = append(errs, field.Invalid(path.Key(name), digest, "must be sha256: and 64 hexadecimal digits"))
		}
	}
	return errs
}

var digestForm = regexp.MustCompile("^sha256:[0-9a-f]{64}$")

// PrometheusConfig says where load is asked for.
type PrometheusConfig struct {
	// URL of a Prometheus-compatible server. Empty: no load is ever known, so
	// nothing is lent.
	URL string `json:"url"`
	// Timeout of one question.
	Timeout metav1.Duration `json:"timeout"`
}

// LedgerConfig says where the ledger is: a file on a local disk, and one for each month
// before beside it.
type LedgerConfig struct {
	Path string `json:"path"`
	// MaxBytes refuses new loans once the files hold that much; units are still
	// taken back and recorded. 0: no limit.
	MaxBytes int64 `json:"maxBytes"`
	// Ballast is the size of a file beside the ledger that is removed when the disk is full,
	// for what gives units back. 0: none.
	Ballast int64 `json:"ballast"`
	// SigningKeyFile has the ed25519 key, in PEM, that signs checkpoints. Empty: they are
	// not signed.
	SigningKeyFile string `json:"signingKeyFile"`
	// OnOldFile is what to do if the file does not have what was published of the ledger.
	OnOldFile OldFile `json:"onOldFile"`
	// Ack says who must have an entry on disk before something is lent.
	Ack Ack `json:"ack"`
	// AckTimeout is how long a follower may take. After it nothing new is lent until the
	// follower has caught up; what is lent is taken back as ever.
	AckTimeout metav1.Duration `json:"ackTimeout"`
	// Replica is where a leader serves its ledger to followers.
	Replica ReplicaConfig `json:"replica"`
	// CheckCommand, if set, reads the files in a process of its own before they are opened;
	// it gets the path as its last argument.
	CheckCommand []string `json:"-"`
}

// Serving is where the API is served, for HTTPS only, and the certificate of all listeners.
type Serving struct {
	BindAddress string `json:"bindAddress"`
	access.Certificate
}

// off is the address of a listener that there is not.
const off = "0"

// Endpoint is a listener. "0" switches metrics and healthProbe off.
type Endpoint struct {
	BindAddress string `json:"bindAddress"`
}

// LeaderElection by a Lease in the broker's namespace.
type LeaderElection struct {
	Enabled       bool            `json:"enabled"`
	LeaseDuration metav1.Duration `json:"leaseDuration"`
	RenewDeadline metav1.Duration `json:"renewDeadline"`
	RetryPeriod   metav1.Duration `json:"retryPeriod"`
}

// ClientConfig bounds the requests to the API server.
type ClientConfig struct {
	QPS   float32 `json:"qps"`
	Burst int     `json:"burst"`
}

// ReshapeConfig says how long changes of GPUs' layouts are assumed to take, and their
// undoing, until agents have measured some.
type ReshapeConfig struct {
	AssumedChange metav1.Duration `json:"assumedChange"`
	AssumedUndo   metav1.Duration `json:"assumedUndo"`
}

// RecordConfig writes decisions to a file, for audits and replays.
type RecordConfig struct {
	// Path of the file, to which lines of JSON are appended. Empty: none is written.
	Path string `json:"path"`
	// All: every decision. Otherwise those that reclaim.
	All bool `json:"all"`
}

func duration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

// DefaultConfig is the configuration of an empty file.
func DefaultConfig() Config {
	p := lend.DefaultPolicy()
	return Config{
		APIVersion: ConfigAPIVersion, Kind: ConfigKind,
		Interval: duration(15 * time.Second), Debounce: duration(100 * time.Millisecond),
		Prometheus:  PrometheusConfig{Timeout: duration(2 * time.Second)},
		Signals:     defaultSignals(),
		Ledger:      LedgerConfig{Path: "/var/lib/ebbtide/ledger.db", Ballast: 4 << 20, OnOldFile: OldFileRefuse, Ack: AckLocal, AckTimeout: duration(2 * time.Second)},
		HTTP:        Serving{BindAddress: ":8443"},
		Metrics:     Endpoint{BindAddress: ":8081"},
		HealthProbe: Endpoint{BindAddress: ":8082"},
		LeaderElection: LeaderElection{
			Enabled: true, LeaseDuration: duration(15 * time.Second),
			RenewDeadline: duration(10 * time.Second), RetryPeriod: duration(2 * time.Second),
		},
		Client:      ClientConfig{QPS: 50, Burst: 100},
		Policy:      newPolicyConfig(p),
		FairSharing: FairSharing{HalfLife: duration(24 * time.Hour), Preemption: p.FairPreemption},
		Hooks:       HooksConfig{Kinds: []prewarm.Kind{}},
		Reshape:     ReshapeConfig{AssumedChange: duration(30 * time.Second), AssumedUndo: duration(20 * time.Second)},

		AdmissionPolicies: AdmissionPoliciesConfig{Accept: map[string]string{}},
	}
}

// LoadConfig reads a configuration file; an empty path gives the defaults. It
// fails on fields it does not know and on values that break a rule, naming each
// field.
func LoadConfig(path string) (Config, error) {
	if path == "" {
		return DefaultConfig(), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// ParseConfig is LoadConfig for a file's content.
func ParseConfig(data []byte) (Config, error) {
	c := DefaultConfig()
	// Which kind it is must be said, so that another kind's file is refused.
	c.APIVersion, c.Kind = "", ""
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, err
	}
	if err := c.Validate().ToAggregate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Validate returns what is wrong with the configuration, by field.
func (c *Config) Validate() field.ErrorList {
	var is checker
	is.want(c.APIVersion == ConfigAPIVersion, "apiVersion", c.APIVersion, "must be "+ConfigAPIVersion)
	is.want(c.Kind == ConfigKind, "kind", c.Kind, "must be "+ConfigKind)
	is.positive("interval", c.Interval)
	is.notNegative("debounce", c.Debounce)
	is.want(c.Debounce.Duration <= c.Interval.Duration, "debounce", c.Debounce.Duration.String(), "must not exceed interval")
	is.want(validURL(c.Prometheus.URL), "prometheus.url", c.Prometheus.URL, "must be an http or https URL with a host, or empty")
	is.positive("prometheus.timeout", c.Prometheus.Timeout)
	is.want(c.Ledger.Path != "", "ledger.path", c.Ledger.Path, "must be a file on a local disk")
	is.want(c.Ledger.MaxBytes >= 0, "ledger.maxBytes", c.Ledger.MaxBytes, "must not be negative")
	is.want(c.Ledger.Ballast >= 0, "ledger.ballast", c.Ledger.Ballast, "must not be negative")
	is.want(c.Ledger.OnOldFile == OldFileRefuse || c.Ledger.OnOldFile == OldFileGap, "ledger.onOldFile", c.Ledger.OnOldFile, "must be Refuse or Gap")
	c.Ledger.validateReplica(&is, c.LeaderElection.Enabled)
	is.want(validAddress(c.HTTP.BindAddress), "http.bindAddress", c.HTTP.BindAddress, "must be host:port")
	is.want((c.HTTP.CertFile == "") == (c.HTTP.KeyFile == ""), "http.certFile", c.HTTP.CertFile, "must be set together with keyFile")
	is.want(optionalAddress(c.Metrics.BindAddress), "metrics.bindAddress", c.Metrics.BindAddress, `must be host:port, or "0"`)
	is.want(optionalAddress(c.HealthProbe.BindAddress), "healthProbe.bindAddress", c.HealthProbe.BindAddress, `must be host:port, or "0"`)
	if e := &c.LeaderElection; e.Enabled {
		is.positive("leaderElection.retryPeriod", e.RetryPeriod)
		is.want(e.RenewDeadline.Duration > e.RetryPeriod.Duration*6/5, "leaderElection.renewDeadline", e.RenewDeadline.Duration.String(), "must exceed 1.2 times retryPeriod")
		is.want(e.LeaseDuration.Duration > e.RenewDeadline.Duration, "leaderElection.leaseDuration", e.LeaseDuration.Duration.String(), "must exceed renewDeadline")
	}
	is.positive("reshape.assumedChange", c.Reshape.AssumedChange)
	is.positive("reshape.assumedUndo", c.Reshape.AssumedUndo)
	is.want(c.Client.QPS > 0, "client.qps", c.Client.QPS, "must be greater than 0")
	is.want(c.Client.Burst > 0, "client.burst", c.Client.Burst, "must be greater than 0")
	return slices.Concat(is.errs, c.AdmissionPolicies.validate(), c.Signals.validate(), c.Policy.validate(c.Interval.Duration), c.FairSharing.validate(), c.Hooks.validate(),
		c.ExternalMetrics.Validate(field.NewPath("externalMetrics")))
}

func validURL(text string) bool {
	if text == "" {
		return true
	}
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func validAddress(text string) bool {
	_, port, err := net.SplitHostPort(text)
	return err == nil && port != ""
}

func optionalAddress(text string) bool { return text == off || validAddress(text) }
