package lab

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestPortsAreHeldApart(t *testing.T) {
	var a, b ports
	seen := map[string]bool{}
	for range 100 {
		for _, p := range []*ports{&a, &b} {
			addr, err := p.next()
			if err != nil {
				t.Fatal(err)
			}
			if seen[addr] {
				t.Fatalf("%s was handed out twice", addr)
			}
			seen[addr] = true
		}
	}
	for _, p := range []*ports{&a, &b} {
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
	}
	for addr := range seen {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		hold, err := claim("port/" + port)
		if err != nil {
			t.Fatalf("port %s is still held: %v", port, err)
		}
		hold.Close()
	}
}

func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	living, err := newFolder("")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := newFolder("")
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.close(true); err != nil {
		t.Fatal(err)
	}
	// A killed lab leaves its folder, and nobody who claims it.
	dead := filepath.Join(os.TempDir(), folderPrefix+"00000000")
	if err := os.MkdirAll(filepath.Join(dead, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	sweep()
	for path, want := range map[string]bool{living.path: true, kept.path: true, dead: false} {
		_, err := os.Stat(path)
		if got := err == nil; got != want {
			t.Errorf("%s is there: %t, want %t", path, got, want)
		}
	}
	if err := living.close(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(living.path); err == nil {
		t.Error("a closed lab's folder is still there")
	}
}

func TestGivenFolderStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab")
	f, err := newFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.close(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestCompleteScheduler(t *testing.T) {
	tests := []struct {
		name, in, want, err string
	}{
		{
			name: "nothing given",
			want: "apiVersion: kubescheduler.config.k8s.io/v1\nclientConnection:\n  burst: 2000\n  kubeconfig: /k\n  qps: 1000\n" +
				"kind: KubeSchedulerConfiguration\nleaderElection:\n  leaderElect: false\n",
		},
		{
			name: "the caller's choices stay, but for the kubeconfig",
			in:   "apiVersion: v\nkind: K\nclientConnection: {kubeconfig: /other, qps: 5, burst: 6}\nleaderElection: {leaderElect: true}\n",
			want: "apiVersion: v\nclientConnection:\n  burst: 6\n  kubeconfig: /k\n  qps: 5\nkind: K\nleaderElection:\n  leaderElect: true\n",
		},
		{
			name: "not an object",
			in:   "leaderElection: yes please\n",
			err:  "read the KubeSchedulerConfiguration: leaderElection must be an object",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := completeScheduler([]byte(test.in), "/k")
			if (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if string(got) != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}
