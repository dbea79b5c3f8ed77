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
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Errors of Broker's methods.
var (
	// ErrUnreachable: nothing that could decide answered. What the API server
	// knows may still help.
	ErrUnreachable = errors.New("the broker cannot be reached")
	// ErrUnknownSubject: the broker answered, and knows of no such thing.
	ErrUnknownSubject = errors.New("unknown to the broker")
)

const (
	systemNamespace = "ebbtide-system"
	// leaseName is the Lease whose holder leads; the name of the holder's pod comes
	// before the underscore.
	leaseName = "ebbtide-broker"
	// usualPod leads where the manifests that Ebbtide ships are used, as the only
	// replica of a StatefulSet.
	usualPod = "ebbtide-broker-0"
	// brokerPort is where the broker's HTTP API listens, on its pod's loopback
	// interface.
	brokerPort = 8080

	requestTimeout = 15 * time.Second
	// maxAnswer bounds what is read of one answer; a page of 1000 entries of the
	// largest size stays below it.
	maxAnswer = 512 << 20
)

// Broker asks a broker over HTTP. It only reads.
type Broker struct {
	client *http.Client
	// base is the URL below which the broker's paths are.
	base string
}

// NewBrokerAt asks the broker at a URL, without credentials.
func NewBrokerAt(rawURL string) (*Broker, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("--broker: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("--broker: %q must be a URL such as http://127.0.0.1:8080", rawURL)
	}
	return &Broker{client: &http.Client{Timeout: requestTimeout}, base: strings.TrimRight(u.String(), "/")}, nil
}

// NewBrokerInCluster asks the leading broker of the cluster, with the user's
// credentials: api tells who leads, and the API server connects to its pod, for
// which the user needs the verb create on pods/portforward in ebbtide-system.
func NewBrokerInCluster(config *rest.Config, api client.Reader) *Broker {
	return &Broker{base: "http://ebbtide-broker", client: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			pod, err := leader(ctx, api)
			if err != nil {
				return nil, err
			}
			return dialPod(ctx, config, systemNamespace, pod, brokerPort)
		}},
	}}
}

// leader is the pod that leads. A user who may not read the Lease gets the pod
// that usually does.
func leader(ctx context.Context, api client.Reader) (string, error) {
	lease := &coordinationv1.Lease{}
	err := api.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: leaseName}, lease)
	switch {
	case apierrors.IsForbidden(err):
		return usualPod, nil
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("no broker has ever led: Lease %s/%s does not exist", systemNamespace, leaseName)
	case err != nil:
		return "", fmt.Errorf("read Lease %s/%s: %w", systemNamespace, leaseName, err)
	}
	pod, _, found := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	if !found || pod == "" {
		return "", fmt.Errorf("no broker leads: Lease %s/%s has no holder", systemNamespace, leaseName)
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
	var answer struct {
		Jobs []QueuedJob `json:"jobs"`
	}
	err := b.get(ctx, "/queue", nil, &answer)
	return answer.Jobs, err
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

// CheckLedger has the broker check its whole ledger.
func (b *Broker) CheckLedger(ctx context.Context) (LedgerCheck, error) {
	var check LedgerCheck
	err := b.get(ctx, "/ledger/check", nil, &check)
	return check, err
}

// get makes one request and reads its answer.
func (b *Broker) get(ctx context.Context, path string, query url.Values, into any) error {
	target := b.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("ask the broker: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := b.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("ask the broker: %w", ctx.Err())
		}
		return fmt.Errorf("%w: %w", ErrUnreachable, b.plain(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w: read its answer: %w", ErrUnreachable, err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %s answered something else than a broker does: %w", ErrUnreachable, b.base, err)
	}
	return nil
}

// plain takes off an error what says nothing to a person: how the HTTP client
// came by it, and in a cluster the URL, which is none that anybody knows.
func (b *Broker) plain(err error) error {
	var port *portError
	var at *url.Error
	switch {
	case errors.As(err, &port):
		return port
	case b.client.Transport != nil && errors.As(err, &at):
		return at.Err
	}
	return err
}

// refusal reads an answer that is not one: the broker's own has "error"; anything
// else comes from something in front of it.
func refusal(status int, body []byte) error {
	var answer struct {
		Error  string `json:"error"`
		Leader string `json:"leader"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Error == "" {
		return fmt.Errorf("%w: %s: %.200s", ErrUnreachable, http.StatusText(status), strings.TrimSpace(string(body)))
	}
	switch status {
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
