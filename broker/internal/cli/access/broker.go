package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Errors of Broker's methods.
var (
	// ErrUnreachable: nothing that could decide answered. What the API server
	// knows may still help.
	ErrUnreachable = errors.New("the broker cannot be reached")
	// ErrRefused: the broker does not know the caller, or he may not see that.
	ErrRefused = errors.New("the broker refused")
	// ErrUnknownSubject: the broker answered, and knows of no such thing.
	ErrUnknownSubject = errors.New("unknown to the broker")
	// ErrOlder: the broker has no such question.
	ErrOlder = errors.New("the broker is older than this program, and cannot be asked that: upgrade it")
)

const (
	// SystemNamespace is that of Ebbtide's programs.
	SystemNamespace = "ebbtide-system"
	// leaseName is the Lease whose holder leads; the name of the holder's pod comes
	// before the underscore.
	leaseName = "ebbtide-broker"
	// usualPod leads where the manifests that Ebbtide ships are used, as the only
	// replica of a StatefulSet.
	usualPod = "ebbtide-broker-0"
	// brokerPort is where the broker's API listens in its pod.
	brokerPort = 8443

	requestTimeout = 15 * time.Second
	// maxAnswer bounds what is read of one answer; a page of 1000 entries of the
	// largest size stays below it.
	maxAnswer = 512 << 20
)

// Broker asks a broker over HTTP. It only reads.
type Broker struct {
	client *http.Client
	// base is the URL below which the broker's paths are. It is nobody's if tunneled.
	base     string
	tunneled bool
}

// ParseURL reads the URL of something that is asked over HTTP; the error shows one that would
// do.
func ParseURL(raw, such string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q must be a URL such as %s", u.Redacted(), such)
	}
	return u, nil
}

// NewBrokerAt asks the broker at a URL. Over HTTPS it is shown who asks, once its certificate
// is verified; over HTTP nothing is shown.
func NewBrokerAt(rawURL string, who *Identity) (*Broker, error) {
	u, err := ParseURL(rawURL, "https://127.0.0.1:8443")
	if err == nil && u.User != nil {
		err = fmt.Errorf("%q must not name a user", u.Redacted())
	}
	if err != nil {
		return nil, fmt.Errorf("--broker: %w", err)
	}
	b := &Broker{client: &http.Client{Timeout: requestTimeout, CheckRedirect: nowhereElse}, base: strings.TrimRight(u.String(), "/")}
	if u.Scheme == "https" {
		b.client.Transport = &late{make: func(ctx context.Context) (http.RoundTripper, error) { return who.transport(ctx, nil) }}
	}
	return b, nil
}

// NewBrokerInCluster asks the leading broker of the cluster: api tells who leads, and the API
// server connects to its pod, for which the user needs the verb create on pods/portforward in
// ebbtide-system. The broker is shown who asks, as the API server is, over TLS from end to
// end.
func NewBrokerInCluster(who *Identity, api client.Reader) *Broker {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		pod, err := leader(ctx, api)
		if err != nil {
			return nil, err
		}
		return dialPod(ctx, who.Config, SystemNamespace, pod, brokerPort)
	}
	return &Broker{base: "https://ebbtide-broker", tunneled: true, client: &http.Client{
		Timeout: requestTimeout, CheckRedirect: nowhereElse,
		Transport: &late{make: func(ctx context.Context) (http.RoundTripper, error) { return who.transport(ctx, dial) }},
	}}
}

// nowhereElse follows no redirect: a broker sends none, and a client that shows who asks shows
// it wherever it is sent.
func nowhereElse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// leader is the pod that leads. A user who may not read the Lease gets the pod
// that usually does.
func leader(ctx context.Context, api client.Reader) (string, error) {
	lease := &coordinationv1.Lease{}
	err := api.Get(ctx, client.ObjectKey{Namespace: SystemNamespace, Name: leaseName}, lease)
	switch {
	case apierrors.IsForbidden(err):
		return usualPod, nil
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("no broker has ever led: Lease %s/%s does not exist", SystemNamespace, leaseName)
	case err != nil:
		return "", fmt.Errorf("read Lease %s/%s: %w", SystemNamespace, leaseName, err)
	}
	pod, _, found := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	if !found || pod == "" {
		return "", fmt.Errorf("no broker leads: Lease %s/%s has no holder", SystemNamespace, leaseName)
	}
	return pod, nil
}

// Verdict of one subject (namespace/name). Of jobs of one name, the one of the UID is
// meant; of others it is empty. ErrUnknownSubject if there is none.
func (b *Broker) Verdict(ctx context.Context, kind lend.SubjectKind, subject, uid string) (Verdict, error) {
	var answer struct {
		Verdicts []Verdict `json:"verdicts"`
	}
	query := url.Values{"subject": {string(kind) + "/" + subject}}
	if uid != "" {
		query.Set("uid", uid)
	}
	if err := b.get(ctx, "/verdicts", query, &answer); err != nil {
		return Verdict{}, err
	}
	for _, v := range answer.Verdicts {
		if strings.EqualFold(string(v.Kind), string(kind)) && v.Subject == subject {
			return v, nil
		}
	}
	return Verdict{}, fmt.Errorf("%s %s: %w", kind, subject, ErrUnknownSubject)
}

// Queue is all waiting jobs, in the order in which they are considered.
func (b *Broker) Queue(ctx context.Context) ([]QueuedJob, error) {
	var all []QueuedJob
	for from := uint64(1); from > 0; {
		var answer struct {
			Jobs []QueuedJob `json:"jobs"`
			Next uint64      `json:"next"`
		}
		if err := b.get(ctx, "/queue", url.Values{"from": {strconv.FormatUint(from, 10)}}, &answer); err != nil {
			return nil, err
		}
		if all = append(all, answer.Jobs...); answer.Next <= from {
			break
		}
		from = answer.Next
	}
	return all, nil
}

// Place is one waiting job (namespace/name). ErrUnknownSubject if it does not wait.
func (b *Broker) Place(ctx context.Context, job, uid string) (QueuedJob, error) {
	var answer struct {
		Jobs []QueuedJob `json:"jobs"`
	}
	if err := b.get(ctx, "/queue", url.Values{"job": {job}}, &answer); err != nil {
		return QueuedJob{}, err
	}
	for _, j := range answer.Jobs {
		if j.Job == job && j.UID == uid {
			return j, nil
		}
	}
	return QueuedJob{}, fmt.Errorf("job %s: %w", job, ErrUnknownSubject)
}

// Ledger is one page of entries.
func (b *Broker) Ledger(ctx context.Context, q LedgerQuery) (LedgerPage, error) {
	var page LedgerPage
	err := b.get(ctx, "/ledger", q.values(), &page)
	return page, err
}

// Reclaims are those asked for among the entries of one page.
func (b *Broker) Reclaims(ctx context.Context, q LedgerQuery) (ReclaimsPage, error) {
	var page ReclaimsPage
	err := b.get(ctx, "/ledger/reclaims", q.values(), &page)
	return page, err
}

func (q *LedgerQuery) values() url.Values {
	query := url.Values{}
	if q.From > 0 {
		query.Set("from", strconv.FormatUint(q.From, 10))
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Loan != "" {
		query.Set("loan", q.Loan)
	}
	if q.Tenant != "" {
		query.Set("tenant", q.Tenant)
	}
	return query
}

// CheckLedger has the broker check its whole ledger, and that it has the entry against,
// SEQ:HASH, unless that is empty.
func (b *Broker) CheckLedger(ctx context.Context, against string) (LedgerCheck, error) {
	var check LedgerCheck
	query := url.Values{}
	if against != "" {
		query.Set("against", against)
	}
	err := b.get(ctx, "/ledger/check", query, &check)
	return check, err
}

// get makes one request and reads its answer.
func (b *Broker) get(ctx context.Context, path string, query url.Values, into any) error {
	body, err := b.fetch(ctx, path, query)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %s answered something else than a broker does: %w", ErrUnreachable, b.base, err)
	}
	return nil
}

// fetch is an answer as it stands.
func (b *Broker) fetch(ctx context.Context, path string, query url.Values) ([]byte, error) {
	target := b.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the broker: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := b.client.Do(request)
	if err != nil {
		return nil, b.failed(ctx, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: read its answer: %w", ErrUnreachable, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response.StatusCode, body)
	}
	return body, nil
}

// failed is why there is no answer.
func (b *Broker) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask the broker: %w", ctx.Err())
	}
	var mine *identityError
	if errors.As(err, &mine) {
		return mine.error
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, b.plain(err))
}

// plain takes off an error what says nothing to a person: how the HTTP client
// came by it, and in a cluster the URL, which is none that anybody knows.
func (b *Broker) plain(err error) error {
	var port *portError
	var at *url.Error
	switch {
	case errors.As(err, &port):
		return port
	case b.tunneled && errors.As(err, &at):
		return at.Err
	}
	return err
}

// noSuchPath is what net/http, and so a broker, answers where it serves nothing.
const noSuchPath = "404 page not found"

// refusal reads an answer that is not one: the broker's own has "error"; anything
// else comes from something in front of it.
func refusal(status int, body []byte) error {
	var answer struct {
		Error  string `json:"error"`
		Leader string `json:"leader"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Error == "" {
		if status == http.StatusNotFound && strings.HasPrefix(string(body), noSuchPath) {
			return ErrOlder
		}
		return fmt.Errorf("%w: %s: %.200s", ErrUnreachable, http.StatusText(status), strings.TrimSpace(string(body)))
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrRefused, answer.Error)
	case http.StatusServiceUnavailable:
		if answer.Leader != "" {
			answer.Error += "; " + answer.Leader + " leads"
		}
		return fmt.Errorf("%w: %s", ErrUnreachable, answer.Error)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %s", ErrUnknownSubject, answer.Error)
	}
	return fmt.Errorf("the broker refused: %s", answer.Error)
}
