package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What the lab prints and writes is read as it is.
func TestReadsWhatTheLabSays(t *testing.T) {
	for line, want := range map[string][2]string{
		"export KUBECONFIG=/tmp/lab/kubeconfig/user-admin.yaml   # administrator":                                         {"/tmp/lab/kubeconfig/user-admin.yaml", ""},
		"export KUBECONFIG=/tmp/lab/kubeconfig/user-vision.yaml   # user of team vision, namespace vision, queue default": {"/tmp/lab/kubeconfig/user-vision.yaml", "vision"},
	} {
		found := administrator.FindStringSubmatch(line)
		if want[1] != "" {
			found = member.FindStringSubmatch(line)
		}
		if found == nil || found[1] != want[0] || want[1] != "" && found[2] != want[1] {
			t.Errorf("%q is read as %q", line, found)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"apiVersion: v1\nhealthProbe:\n  bindAddress: 127.0.0.1:1\nhttp:\n  bindAddress: 127.0.0.1:4711\n  certFile: a\ninterval: 1s\n": "https://127.0.0.1:4711",
		"http:\n  certFile: a\n  bindAddress: \"127.0.0.1:4712\"\nmetrics:\n  bindAddress: \"0\"\n":                                     "https://127.0.0.1:4712",
		"healthProbe:\n  bindAddress: 127.0.0.1:1\nmetrics:\n  bindAddress: \"0\"\n":                                                    "",
	} {
		if err := os.WriteFile(filepath.Join(dir, "config", "ebbtide-broker.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		l := lab{admin: filepath.Join(dir, "kubeconfig", "user-admin.yaml"), teams: []string{"a", "b"}}
		if err := l.find(); (err != nil) != (want == "") || l.url != want {
			t.Errorf("of %q the broker's URL is %q, %v, want %q", text, l.url, err, want)
		}
	}
}
