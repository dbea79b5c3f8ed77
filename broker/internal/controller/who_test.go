package controller_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/access/terms"
	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli"
	"github.com/ebbtide/ebbtide/broker/internal/controller"
	"github.com/ebbtide/ebbtide/deploy"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
	"github.com/ebbtide/ebbtide/e2e/lab/pki"
)

// TestWhoIsAsked asks a broker with the shipped rights, on a real control plane, as people
// and programs do: by client certificates, by service accounts' tokens, and as nobody.
func TestWhoIsAsked(t *testing.T) {
	manifests, err := deploy.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.New(t, lab.Options{
		Nodes: []lab.NodeSpec{{Name: "gpu-0", GPUs: 8}}, NoPrometheus: true, Manifests: [][]byte{manifests},
		Broker: &lab.Program{Config: func(e lab.Env) ([]byte, error) {
			web, err := e.Listen("web")
			if err != nil {
				return nil, err
			}
			numbers, err := e.Listen("metrics")
			return fmt.Appendf(nil, `apiVersion: ebbtide.dev/v1alpha1
kind: BrokerConfiguration
interval: 1s
ledger: {path: %s/ledger.db}
http: {bindAddress: %q}
metrics: {bindAddress: %q}
healthProbe: {bindAddress: %q}
leaderElection: {enabled: false}
`, e.Dir, web, numbers, e.Addr), err
		}},
	})
	c, err := client.New(l.Config(), client.Options{Scheme: controller.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{serving, research} {
		if err := l.CreateNamespace(t.Context(), ns, map[string]string{"team": ns}); err != nil {
			t.Fatal(err)
		}
	}
	role := func(name, namespace, role string, to rbacv1.Subject) client.Object {
		meta := metav1.ObjectMeta{Name: name, Namespace: namespace}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
		if namespace == "" {
			return &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: []rbacv1.Subject{to}}
		}
		return &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: []rbacv1.Subject{to}}
	}
	user := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}
	}
	account := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: research, Name: name}
	}
	create(t, c, tenant(serving, 8), tenant(research, 0),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: research, Name: "prometheus"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: research, Name: "finance"}},
		role("ann", research, "view", user("ann")), role("auditor", "", "ebbtide-auditor", user("olga")),
		role("prometheus", "", "ebbtide-metrics-reader", account("prometheus")), role("finance", research, "view", account("finance")),
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: research, Name: "tokens"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{"finance"}, Verbs: []string{"create"}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: research, Name: "tokens"}, Subjects: []rbacv1.Subject{user("ann")},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tokens"}},
		&v1alpha1.TrainingQueue{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: research}})
	a := asker{t: t, lab: l}
	prometheus, narrow := a.token("prometheus"), a.token("finance", terms.Audience)
	// The API server learns of each kind of binding from a watch of its own.
	for _, bound := range []struct {
		path string
		as   credentials
	}{
		{"/ledger?tenant=research", a.certificate("ann")}, {"/ledger/check", a.certificate("olga")},
		{"/metrics", prometheus}, {"/ledger?tenant=research", narrow},
	} {
		labtest.Eventually(t, 2*time.Minute, a.knows(bound.path, bound.as, http.StatusOK))
	}
	for _, test := range []struct {
		who    string
		as     credentials
		path   string
		status int
		says   string
	}{
		{"nobody", credentials{}, "/readyz", 200, "ok\n"},
		{"nobody", credentials{}, "/metrics", 401, "who asks is not known"},
		{"nobody", credentials{}, "/queue", 401, "who asks is not known"},
		{"a bad token", credentials{token: "bad"}, "/queue", 401, "who asks is not known"},
		{"another cluster's certificate", a.stranger(), "/queue", 401, "who asks is not known"},
		{"ann", a.certificate("ann"), "/queue", 200, `"jobs"`},
		{"ann", a.certificate("ann"), "/verdicts?namespace=research", 200, `"verdicts"`},
		{"ann", a.certificate("ann"), "/ledger?tenant=serving", 403, `user \"ann\" may not list loans.ebbtide.dev in all namespaces of tenant serving`},
		{"ann", a.certificate("ann"), "/lenders?namespace=serving", 403, "may not"},
		{"ann", a.certificate("ann"), "/metrics", 403, `user \"ann\" may not get /metrics`},
		{"ann", a.certificate("ann"), "/debug/snapshot", 403, "may not"},
		{"Prometheus", prometheus, "/metrics", 200, "ebbtide_broker_decisions_total"},
		{"Prometheus", prometheus, "/ledger/check", 403, "may not"},
		{"Prometheus", prometheus, "/ledger?tenant=research", 403, "may not"},
		{"finance, for brokers alone", narrow, "/ledger?tenant=research", 200, `"entries"`},
		{"the auditor", a.certificate("olga"), "/ledger/check", 200, `"ok":true`},
		{"the auditor", a.certificate("olga"), "/ledger", 200, "EPOCH_START"},
		{"the auditor", a.certificate("olga"), "/debug/health", 200, `"leads":true`},
		{"the auditor", a.certificate("olga"), "/metrics", 403, "may not"},
		{"an administrator", a.certificate("root", "system:masters"), "/debug/snapshot", 200, `"snapshot"`},
	} {
		if status, body := a.ask("web", test.path, test.as); status != test.status || !strings.Contains(body, test.says) {
			t.Errorf("%s as %s: got %d %.300s, want %d %s", test.path, test.who, status, body, test.status, test.says)
		}
	}
	if status, body := a.ask("metrics", "/metrics", prometheus); status != http.StatusOK || !strings.Contains(body, "ebbtide_broker_decisions_total") {
		t.Errorf("the metrics' own port: %d %.300s", status, body)
	}
	if status, _ := a.ask("metrics", "/metrics", credentials{}); status != http.StatusUnauthorized {
		t.Errorf("the metrics' own port, as nobody: %d", status)
	}
	if status, _ := a.ask("metrics", "/queue", a.certificate("root", "system:masters")); status != http.StatusNotFound {
		t.Errorf("the queue on the metrics' port: %d", status)
	}
	a.nothingToBind()
	a.gigabyte()
	// A token for brokers is good for nothing else.
	config := rest.AnonymousClientConfig(l.Config())
	config.BearerToken = narrow.token
	api, err := client.New(config, client.Options{Scheme: controller.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.List(t.Context(), &v1alpha1.LoanList{}, client.InNamespace(research)); err == nil || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("the API server took a token for brokers: %v", err)
	}
	a.commandLine()
}

// credentials are what somebody shows.
type credentials struct {
	token string
	cert  *tls.Certificate
}

type asker struct {
	t   *testing.T
	lab *lab.Lab
}

func (a asker) certificate(name string, groups ...string) credentials {
	a.t.Helper()
	config, err := a.lab.UserConfig(name, groups...)
	if err != nil {
		a.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		a.t.Fatal(err)
	}
	return credentials{cert: &pair}
}

// stranger is an administrator of another cluster.
func (a asker) stranger() credentials {
	a.t.Helper()
	other, err := pki.NewAuthority("other")
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := other.Client("root", "system:masters")
	if err != nil {
		a.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(made.CertPEM, made.KeyPEM)
	if err != nil {
		a.t.Fatal(err)
	}
	return credentials{cert: &pair}
}

func (a asker) token(account string, audiences ...string) credentials {
	a.t.Helper()
	token, err := a.lab.Client().CoreV1().ServiceAccounts(research).CreateToken(a.t.Context(), account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	return credentials{token: token.Status.Token}
}

func (a asker) ask(port, path string, as credentials) (int, string) {
	a.t.Helper()
	return a.send(http.MethodGet, port, path, as, nil, 0)
}

// send makes a request to one of the broker's listeners; the kubelet's has the port "".
func (a asker) send(method, port, path string, as credentials, content io.Reader, length int64) (int, string) {
	a.t.Helper()
	env, err := a.lab.Env(lab.Broker)
	if err != nil {
		a.t.Fatal(err)
	}
	url := "http://" + env.Addr + path
	if port != "" {
		address, err := env.Listen(port)
		if err != nil {
			a.t.Fatal(err)
		}
		url = "https://" + address + path
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(a.lab.Config().CAData)
	config := &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}
	if as.cert != nil {
		config.Certificates = []tls.Certificate{*as.cert}
		// Whatever authorities the server names: a stranger shows his all the same.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return as.cert, nil }
	}
	request, err := http.NewRequestWithContext(a.t.Context(), method, url, content)
	if err != nil {
		a.t.Fatal(err)
	}
	if length > 0 {
		request.ContentLength = length
	}
	if as.token != "" {
		request.Header.Set("Authorization", "Bearer "+as.token)
	}
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func (a asker) knows(path string, as credentials, want int) func(context.Context) (bool, string) {
	return func(context.Context) (bool, string) {
		status, body := a.ask("web", path, as)
		return status == want, fmt.Sprintf("%s: %d %s", path, status, body)
	}
}

// nothingToBind replays HAMi's #3030: nothing can be bound, freed or changed over HTTP, by
// nobody and by no administrator.
func (a asker) nothingToBind() {
	a.t.Helper()
	for _, path := range []string{"/bind", "/filter", "/queue", "/ledger", "/verdicts", "/metrics", "/debug/snapshot"} {
		for who, as := range map[string]credentials{"nobody": {}, "an administrator": a.certificate("root", "system:masters")} {
			status, body := a.send(http.MethodPost, "web", path, as, strings.NewReader(`{"PodName": "tune", "PodNamespace": "research", "Node": "gpu-0"}`), 0)
			if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
				a.t.Errorf("POST %s as %s: got %d %.300s", path, who, status, body)
			}
		}
	}
}

// gigabyte sends a body of one to each listener, as Volcano's CVE-2026-44247 had it, and looks
// at how much memory the broker has ever taken.
func (a asker) gigabyte() {
	a.t.Helper()
	const body, limit = 1 << 30, 512 << 20
	for _, listener := range []struct{ port, path string }{{"web", "/queue"}, {"web", "/healthz"}, {"metrics", "/metrics"}, {"", "/readyz"}} {
		// However it is refused: with an answer, or by an end of the connection.
		if status, text := a.send(http.MethodGet, listener.port, listener.path, credentials{}, endless{}, body); status == 0 && !strings.Contains(text, "write") && !strings.Contains(text, "EOF") && !strings.Contains(text, "reset") {
			a.t.Errorf("a gigabyte to %s%s: %s", listener.port, listener.path, text)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.lab.Part(lab.Broker).PID()))
	if err != nil {
		a.t.Skipf("the broker's memory cannot be read: %v", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var most int
	if _, err := fmt.Sscan(rest, &most); err != nil {
		a.t.Fatal(err)
	}
	a.t.Logf("the broker never took more than %d KiB", most)
	if most > limit>>10 {
		a.t.Errorf("the broker took %d KiB of memory", most)
	}
}

// endless is zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// commandLine asks as kubectl ebbtide does, with ann's kubeconfig.
func (a asker) commandLine() {
	a.t.Helper()
	kubeconfig, err := a.lab.UserKubeconfig("ann")
	if err != nil {
		a.t.Fatal(err)
	}
	authority := filepath.Join(a.t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, a.lab.Config().CAData, 0o600); err != nil {
		a.t.Fatal(err)
	}
	_, url, err := a.lab.BrokerClient(lab.Broker)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, test := range []struct {
		args, says string
		code       int
	}{
		{"ledger list --tenant research", "No ledger entries found.", 0},
		{"ledger list --tenant serving", "the broker refused: user \"ann\" may not", 1},
		{"ledger list --tenant research --broker-account research/finance", "No ledger entries found.", 0},
		{"ledger list --tenant serving --broker-account research/finance", "system:serviceaccount:research:finance", 1},
		{"ledger list --tenant research --broker-account research/prometheus", "cannot create resource", 1},
		{"ledger check", "may not get /ledger/check", 1},
	} {
		var out, errOut bytes.Buffer
		args := append(strings.Fields(test.args), "--kubeconfig", kubeconfig, "--broker", url, "--broker-ca", authority)
		code := cli.Run(a.t.Context(), cli.Env{
			Streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut},
			Clock:   clock.RealClock{}, Getenv: func(string) string { return "" },
		}, args)
		if said := out.String() + errOut.String(); code != test.code || !strings.Contains(said, test.says) {
			a.t.Errorf("%s: exit %d, %s; want %d, %s", test.args, code, said, test.code, test.says)
		}
	}
}
