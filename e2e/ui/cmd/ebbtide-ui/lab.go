package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// patience is how long is waited for what must come. It matters in failure only.
const patience = 5 * time.Minute

// lab is a running `ebbtide-lab up`: a real control plane with Ebbtide, an idle service and
// teams that borrow from it.
type lab struct {
	root string
	// admin is the administrator's kubeconfig, users those of the teams.
	admin string
	users map[string]string
	teams []string
	// url of the broker.
	url string
}

var (
	administrator = regexp.MustCompile(`^export KUBECONFIG=(\S+)\s+# administrator`)
	member        = regexp.MustCompile(`^export KUBECONFIG=(\S+)\s+# user of team (\S+),`)
	listens       = regexp.MustCompile(`(?m)^http:\n(?:  .*\n)*?  bindAddress: "?([^"\s]+)"?$`)
)

// startLab starts one and waits until it says that it is ready. It is stopped by stop.
func startLab(ctx context.Context, root string) (l *lab, stop func() error, err error) {
	l = &lab{root: root, users: map[string]string{}}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "bin/ebbtide-lab"), "up", "--nodes=4")
	cmd.Dir = root
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the lab (make build makes it): %w", err)
	}
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("stop the lab: %w: %s", err, last(said.String()))
		}
		return nil
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		if found := administrator.FindStringSubmatch(line); found != nil {
			l.admin = found[1]
		} else if found := member.FindStringSubmatch(line); found != nil {
			l.users[found[2]] = found[1]
			l.teams = append(l.teams, found[2])
		} else if strings.HasPrefix(line, "# Ctrl-C") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // so that it never waits for a reader
			return l, stop, l.find()
		}
	}
	return nil, nil, errors.Join(errors.New("the lab did not come up"), stop())
}

func last(text string) string { return text[max(0, len(text)-800):] }

// find reads where the broker listens.
func (l *lab) find() error {
	if l.admin == "" || len(l.teams) < 2 {
		return fmt.Errorf("the lab says of %d teams and of the administrator %q", len(l.teams), l.admin)
	}
	file := filepath.Join(filepath.Dir(filepath.Dir(l.admin)), "config", "ebbtide-broker.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read where the broker listens: %w", err)
	}
	found := listens.FindSubmatch(data)
	if found == nil {
		return fmt.Errorf("%s does not say where the broker listens:\n%s", file, data)
	}
	l.url = "https://" + string(found[1])
	return nil
}

// kubectl runs a command with what it is to read.
func (l *lab) kubectl(ctx context.Context, kubeconfig, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.root, "bin/kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, last(said.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// token makes an account that has a role, everywhere or in its namespace, and a token of it
// for the broker, as the sign-in page says.
func (l *lab) token(ctx context.Context, namespace, name, role string, everywhere bool) (string, error) {
	if _, err := l.kubectl(ctx, l.admin, "", "create", "serviceaccount", name, "-n", namespace); err != nil {
		return "", err
	}
	kind := []string{"create", "rolebinding", name, "-n", namespace}
	if everywhere {
		kind = []string{"create", "clusterrolebinding", name}
	}
	if _, err := l.kubectl(ctx, l.admin, "", append(kind, "--clusterrole", role, "--serviceaccount", namespace+":"+name)...); err != nil {
		return "", err
	}
	return l.kubectl(ctx, l.admin, "", "create", "token", name, "-n", namespace, "--audience", "ebbtide-broker", "--duration", "1h")
}

const jobText = `apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: %s, labels: {ebbtide.dev/queue: default}}
spec:
  parallelism: %d
  completions: %[3]d
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 2
      containers:
      - {name: main, image: registry.invalid/none, resources: {limits: {nvidia.com/gpu: %[4]d}, requests: {nvidia.com/gpu: %[4]d}}}
`

// submit queues a job as the team's user.
func (l *lab) submit(ctx context.Context, team, name string, pods, gpus int) error {
	_, err := l.kubectl(ctx, l.users[team], fmt.Sprintf(jobText, name, team, pods, gpus), "create", "-f", "-")
	return err
}

// client asks the broker without knowing its certificate.
var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // the lab's own, on loopback

// ask asks the broker as somebody.
func (l *lab) ask(ctx context.Context, token, path string, body any) (http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: status %d: %s: %w", path, answer.StatusCode, last(string(data)), err)
	}
	if body != nil {
		err = json.Unmarshal(data, body)
	}
	return answer.Header, err
}

// await asks again until what is found is enough.
func (l *lab) await(ctx context.Context, token, path string, body any, enough func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for {
		_, err := l.ask(ctx, token, path, body)
		if err == nil && enough() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: it does not come: %v: %+v", path, err, body)
		case <-every.C:
		}
	}
}
