package host

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestPortsAreHeldApart(t *testing.T) {
	var a, b Ports
	seen := map[string]bool{}
	for range 100 {
		for _, p := range []*Ports{&a, &b} {
			addr, err := p.Next()
			if err != nil {
				t.Fatal(err)
			}
			if seen[addr] {
				t.Fatalf("%s was handed out twice", addr)
			}
			seen[addr] = true
		}
	}
	for _, p := range []*Ports{&a, &b} {
		if err := p.Close(); err != nil {
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
	living, err := NewFolder("")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := NewFolder("")
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.Close(true); err != nil {
		t.Fatal(err)
	}
	// A killed lab leaves its folder, and nobody who claims it.
	dead := filepath.Join(os.TempDir(), folderPrefix+"00000000")
	if err := os.MkdirAll(filepath.Join(dead, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	sweep()
	for path, want := range map[string]bool{living.Path: true, kept.Path: true, dead: false} {
		_, err := os.Stat(path)
		if got := err == nil; got != want {
			t.Errorf("%s is there: %t, want %t", path, got, want)
		}
	}
	if err := living.Close(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(living.Path); err == nil {
		t.Error("a closed lab's folder is still there")
	}
}

func TestGivenFolderStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab")
	f, err := NewFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
