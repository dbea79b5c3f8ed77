package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/lab/build"
	"github.com/ebbtide/ebbtide/e2e/lab/pki"
)

// defaultScrapeInterval is short because scenarios are.
const defaultScrapeInterval = time.Second

// PrometheusURL returns the base URL of Prometheus, or "" in a lab without it.
func (l *Lab) PrometheusURL() string {
	if l.promAddr == "" {
		return ""
	}
	return "http://" + l.promAddr
}

// Query evaluates a PromQL expression now and returns the answer of Prometheus's
// HTTP API, which is JSON.
func (l *Lab) Query(ctx context.Context, expression string) (string, error) {
	if l.promAddr == "" {
		return "", errors.New("query prometheus: this lab has none")
	}
	return fetch(ctx, l.http, l.PrometheusURL()+"/api/v1/query?"+url.Values{"query": {expression}}.Encode())
}

func (l *Lab) prometheus() (*Part, error) {
	text, err := l.prometheusConfig()
	if err != nil {
		return nil, err
	}
	config, err := l.folder.Write("config/prometheus.yaml", text)
	if err != nil {
		return nil, err
	}
	return l.newPart(partSpec{
		name: Prometheus, path: l.bin(build.Prometheus),
		args: []string{
			"--config.file=" + config, "--web.listen-address=" + l.promAddr,
			"--storage.tsdb.path=" + l.folder.Join("data", Prometheus),
			"--storage.tsdb.no-lockfile", "--storage.tsdb.retention.time=1d", "--log.level=warn",
		},
		health: l.healthy(l.PrometheusURL() + "/-/ready"),
	}), nil
}

// prometheusConfig scrapes what the caller's service discovery names, whose
// labels decide everything else about a target, and Ebbtide's own programs.
func (l *Lab) prometheusConfig() ([]byte, error) {
	interval := l.opts.ScrapeInterval
	if interval == 0 {
		interval = defaultScrapeInterval
	}
	if interval < 0 {
		return nil, fmt.Errorf("configure prometheus: ScrapeInterval %s must not be negative", interval)
	}
	jobs := []map[string]any{}
	if l.opts.SDURL != "" {
		jobs = append(jobs, map[string]any{
			"job_name":        "lab",
			"http_sd_configs": []any{map[string]any{"url": l.opts.SDURL, "refresh_interval": "1s"}},
		})
	}
	for _, own := range []struct {
		name    string
		scheme  string
		program *Program
	}{
		{Broker, "http", l.opts.Broker}, {Scheduler, "https", l.opts.Scheduler},
	} {
		if own.program == nil {
			continue
		}
		name := own.program.Name
		if name == "" {
			name = own.name
		}
		env, err := l.Env(name)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, l.scrapeJob(own.name, own.scheme, env.Addr))
	}
	return yaml.Marshal(map[string]any{
		"global": map[string]any{
			"scrape_interval": interval.String(), "scrape_timeout": interval.String(),
			"evaluation_interval": interval.String(),
		},
		"scrape_configs": jobs,
	})
}

func (l *Lab) scrapeJob(name, scheme, target string) map[string]any {
	job := map[string]any{
		"job_name": name, "scheme": scheme,
		"static_configs": []any{map[string]any{"targets": []any{target}}},
	}
	if scheme == "https" {
		job["tls_config"] = map[string]any{
			"ca_file": l.files.ca, "cert_file": l.files.adminCert, "key_file": l.files.adminKey,
		}
	}
	return job
}

// healthy returns a check that asks url, as the lab's administrator, and is
// satisfied by status 200.
func (l *Lab) healthy(url string) func(context.Context) error { return probe(l.http, url) }

func probe(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := fetch(ctx, client, url)
		return err
	}
}

// fetch gets url and returns the body of an answer with status 200. Anything else
// is an error that shows the beginning of the body.
func fetch(ctx context.Context, client *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("GET %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s: %.1000s", url, response.Status, body)
	}
	return string(body), nil
}

// httpClient trusts only the authority and shows the pair. It keeps no connection
// open: a frozen server must not be asked over an old one.
func httpClient(authority *pki.Authority, pair pki.Pair) (*http.Client, error) {
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("load a client certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority.CertPEM) {
		return nil, fmt.Errorf("load the authority's certificate: no certificate in it")
	}
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}}, nil
}
