package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"

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
	serviceProxy    = "/api/v1/namespaces/" + systemNamespace + "/services/ebbtide-broker:http/proxy"
	// podProxy takes the name of a pod; a pod's port cannot be named there.
	podProxy = "/api/v1/namespaces/" + systemNamespace + "/pods/http:%s:8080/proxy"

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
	// follow gives the base of another replica by its leader identity; nil where
	// replicas cannot be told apart.
	follow func(identity string) string
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

// NewBrokerInCluster asks the broker through the API server's proxy, with the
// user's credentials. A replica that is not the leader names the leader, which
// is then asked instead.
func NewBrokerInCluster(config *rest.Config) (*Broker, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	client.Timeout = requestTimeout
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("read the API server's address: %w", err)
	}
	root := strings.TrimRight(server.String(), "/")
	return &Broker{client: client, base: root + serviceProxy, follow: func(identity string) string {
		// A leader's identity is its pod's name, an underscore, and something random.
		pod, _, found := strings.Cut(identity, "_")
		if !found || pod == "" {
			return ""
		}
		return root + fmt.Sprintf(podProxy, url.PathEscape(pod))
	}}, nil
}

// Verdict of one subject (namespace/name). ErrUnknownSubject if there is none.
func (b *Broker) Verdict(ctx context.Context, kind lend.SubjectKind, subject string) (Verdict, error) {
	var answer struct {
		Verdicts []Verdict `json:"verdicts"`
	}
	query := url.Values{"subject": {string(kind) + "/" + subject}}
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

// Ledger is one page of entries.
func (b *Broker) Ledger(ctx context.Context, q LedgerQuery) (LedgerPage, error) {
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
	var page LedgerPage
	err := b.get(ctx, "/ledger", query, &page)
	return page, err
}

// CheckLedger has the broker check its whole ledger.
func (b *Broker) CheckLedger(ctx context.Context) (LedgerCheck, error) {
	var check LedgerCheck
	err := b.get(ctx, "/ledger/check", nil, &check)
	return check, err
}

// get asks once, and once more the leader that the first replica named.
func (b *Broker) get(ctx context.Context, path string, query url.Values, into any) error {
	leader, err := b.ask(ctx, b.base, path, query, into)
	if err == nil || leader == "" || b.follow == nil {
		return err
	}
	base := b.follow(leader)
	if base == "" {
		return err
	}
	_, err = b.ask(ctx, base, path, query, into)
	return err
}

// ask makes one request. With an error it also returns who the replica says
// leads, if it said so.
func (b *Broker) ask(ctx context.Context, base, path string, query url.Values, into any) (leader string, err error) {
	target := base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", fmt.Errorf("ask the broker: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := b.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("ask the broker: %w", ctx.Err())
		}
		return "", fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("%w: read its answer: %w", ErrUnreachable, err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return "", fmt.Errorf("%w: %s answered something else than a broker does: %w", ErrUnreachable, base, err)
	}
	return "", nil
}

// refusal reads an answer that is not one: the broker's own has "error", the API
// server's in front of it is a Status with "message".
func refusal(status int, body []byte) (leader string, err error) {
	var answer struct {
		Error   string `json:"error"`
		Leader  string `json:"leader"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) != nil || (answer.Error == "" && answer.Message == "") {
		answer.Message = fmt.Sprintf("%s: %.200s", http.StatusText(status), strings.TrimSpace(string(body)))
	}
	switch {
	case answer.Error == "":
		return "", fmt.Errorf("%w: %s", ErrUnreachable, answer.Message)
	case status == http.StatusServiceUnavailable:
		return answer.Leader, fmt.Errorf("%w: %s", ErrUnreachable, answer.Error)
	case status == http.StatusNotFound:
		return "", fmt.Errorf("%w: %s", ErrUnknownSubject, answer.Error)
	}
	return "", fmt.Errorf("the broker refused: %s", answer.Error)
}
