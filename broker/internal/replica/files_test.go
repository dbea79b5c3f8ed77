package replica

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ebbtide/ebbtide/broker/internal/published"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// put copies a file that nobody writes just now.
func put(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// stages are copies of one ledger as it grows, and one of a later leader's that parted from
// it after the second.
func stages(t *testing.T) (short, middle, long, other string, heads map[string]published.Head) {
	t.Helper()
	l := newLeader(t)
	heads = map[string]published.Head{}
	snapshot := func(l *leader, loans int) string {
		l.lend(t, loans)
		to := filepath.Join(t.TempDir(), "copy.db")
		put(t, l.path, to)
		heads[to] = l.head()
		return to
	}
	short, middle = snapshot(l, 1), snapshot(l, 2)
	parted := filepath.Join(t.TempDir(), "parted.db")
	put(t, middle, parted)
	long = snapshot(l, 3)
	other = snapshot(leaderAt(t, parted, 2), 1)
	return short, middle, long, other, heads
}

// TestPromote: the file with the published head is the ledger; nothing is lost of the other.
func TestPromote(t *testing.T) {
	short, middle, long, other, heads := stages(t)
	broken := filepath.Join(t.TempDir(), "broken.db")
	data, err := os.ReadFile(long)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, data[:3*4096], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		own, mirror string // "" : none
		public      string // whose head is published
		want        string
		promoted    bool
		fails       bool
	}{
		"no copy":                            {own: middle, public: middle, want: middle},
		"no ledger":                          {mirror: middle, public: middle, want: middle, promoted: true},
		"no ledger, and the copy is old":     {mirror: short, public: long, want: short, promoted: true},
		"the copy is newer":                  {own: short, mirror: long, public: middle, want: long, promoted: true},
		"the copy had only begun":            {own: middle, mirror: short, public: middle, want: middle},
		"the copy is longer, and had parted": {own: other, mirror: long, public: other, want: other},
		"the ledger had parted":              {own: long, mirror: other, public: other, want: other, promoted: true},
		"nothing is published, later epoch":  {own: long, mirror: other, want: other, promoted: true},
		"nothing is published, more of it":   {own: middle, mirror: long, want: long, promoted: true},
		"nothing is published, the same":     {own: long, mirror: long, want: long},
		"the copy is damaged":                {own: short, mirror: broken, public: long, want: short},
		"the ledger is damaged":              {own: broken, mirror: middle, public: long, want: middle, promoted: true},
		"both are damaged":                   {own: broken, mirror: broken, public: long, fails: true},
		"only a damaged copy":                {mirror: broken, public: long, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
			there := 0
			for from, to := range map[*string]string{&test.own: files.Own, &test.mirror: files.Copy} {
				if *from != "" {
					put(t, *from, to)
					there++
				}
			}
			promoted, err := files.Promote(heads[test.public], segments.Options{})
			if promoted != test.promoted || (err != nil) != test.fails {
				t.Fatalf("Promote: %t, %v", promoted, err)
			}
			if names, _ := filepath.Glob(files.Own + "*"); !test.fails && len(names) != there {
				t.Errorf("of %d files there are %v", there, names)
			}
			if test.fails {
				return
			}
			if got, want := records(t, files.Own), records(t, test.want); len(got) != len(want) || string(got[len(got)-1]) != string(want[len(want)-1]) {
				t.Errorf("the ledger has %d entries, want %d", len(got), len(want))
			}
			if _, err := os.Stat(files.Copy); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the copy is still there: %v", err)
			}
			if again, err := files.Promote(heads[test.public], segments.Options{}); again || err != nil {
				t.Errorf("a second time: %t, %v", again, err)
			}
		})
	}
}

// TestPromoteCutOff: a crash between any two of its steps changes nothing about the outcome.
func TestPromoteCutOff(t *testing.T) {
	short, _, long, _, heads := stages(t)
	head := heads[short]
	for name, before := range map[string]func(f Files){
		"the ledger has two names": func(f Files) {
			if err := os.Link(f.Own, f.Own+".aside-3-"+head.Hash.String()[:12]); err != nil {
				t.Fatal(err)
			}
		},
		"the ledger is aside": func(f Files) {
			if err := os.Rename(f.Own, f.Own+".aside-3-"+head.Hash.String()[:12]); err != nil {
				t.Fatal(err)
			}
		},
		"the copy has two names": func(f Files) {
			if err := errors.Join(os.Rename(f.Own, f.Own+".aside-3-"+head.Hash.String()[:12]), os.Link(f.Copy, f.Own)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := FilesOf(filepath.Join(t.TempDir(), "ledger.db"))
			put(t, short, files.Own)
			put(t, long, files.Copy)
			before(files)
			if _, err := files.Promote(heads[long], segments.Options{}); err != nil {
				t.Fatal(err)
			}
			names, _ := filepath.Glob(filepath.Join(filepath.Dir(files.Own), "*"))
			if got := records(t, files.Own); len(got) != len(records(t, long)) || len(names) != 2 {
				t.Errorf("the ledger has %d entries, and there are %v", len(got), names)
			}
			if kept := records(t, files.Own+".aside-3-"+head.Hash.String()[:12]); len(kept) != 3 {
				t.Errorf("kept aside are %d entries", len(kept))
			}
		})
	}
}
