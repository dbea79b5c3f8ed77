package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func schemaOf(t *testing.T, path string) uint32 {
	t.Helper()
	report, err := quickCheck(path)
	if err != nil || !report.OK() {
		t.Fatalf("Check %s: %v %v", path, err, report.Err())
	}
	return report.schema
}

// The old file stays as it was, under its other name, and the new one has its chain.
func TestMigrationKeepsTheOldFile(t *testing.T) {
	path := unpack(t, "v1-story.db")
	old := readFile(t, path)
	if schemaOf(t, path) != 1 {
		t.Fatal("the fixture is not of schema 1")
	}
	l := openAt(t, path, Options{})
	seq, hash := l.Head()
	mustAppend(t, l, inEpoch(9, lent(LendIntent, 900)))
	mustClose(t, l)
	if got := readFile(t, OldName(path, 1)); !bytes.Equal(got, old) {
		t.Error("the old file was changed")
	}
	if schemaOf(t, path) != schemaVersion || schemaOf(t, OldName(path, 1)) != 1 {
		t.Error("schemas are not those of the names")
	}
	l = openAt(t, path, Options{}) // which does not migrate again
	if _, h := l.Head(); h == hash {
		t.Errorf("the entry after %d is gone", seq)
	}
	all, err := l.ByTenant("ml-1", 0, 0)
	if err != nil || len(all) == 0 {
		t.Errorf("by tenant: %d, %v", len(all), err)
	}
	if rows, err := l.Totals("2026-03", "ml-1"); err != nil || len(rows) == 0 || rows[0].Borrowed.UnitMS == 0 {
		t.Errorf("the month before the migration: %v %v", rows, err)
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

// Cut off after the old file got its second name, a migration is made again.
func TestMigrationGoesOnAfterACrash(t *testing.T) {
	path := unpack(t, "v1-story.db")
	writeFile(t, filepath.Join(filepath.Dir(path), ".v1-story.db.migrate-1"), []byte("half a file"))
	if err := os.Link(path, OldName(path, 1)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, openAt(t, path, Options{}))
	if schemaOf(t, path) != schemaVersion || schemaOf(t, OldName(path, 1)) != 1 {
		t.Error("schemas are not those of the names")
	}
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestMigrationReplacesNothing(t *testing.T) {
	path := unpack(t, "v1-story.db")
	before := readFile(t, path)
	writeFile(t, OldName(path, 1), []byte("somebody's"))
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "is another file") {
		t.Errorf("Open: %v", err)
	}
	if !bytes.Equal(before, readFile(t, path)) || string(readFile(t, OldName(path, 1))) != "somebody's" {
		t.Error("a file was changed")
	}
}

// A damaged file of schema 1 is refused as it is, and its indexes can be made anew.
func TestDamagedFileIsNotMigrated(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(tx *bolt.Tx) error
		want   error
	}{
		"log":   {func(tx *bolt.Tx) error { return tx.Bucket(bucketLog).Delete(seqKey(9)) }, ErrCorrupt},
		"index": {func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketTenant) }, ErrDerived},
	} {
		path := unpack(t, "v1-story.db")
		editBolt(t, path, tc.damage)
		before := readFile(t, path)
		if _, err := Open(path, Options{}); !errors.Is(err, tc.want) {
			t.Errorf("%s: Open says %v", name, err)
		}
		if _, err := os.Stat(OldName(path, 1)); err == nil || !bytes.Equal(before, readFile(t, path)) {
			t.Errorf("%s: a file that was refused was changed, or has a second name", name)
		}
		if !errors.Is(tc.want, ErrDerived) {
			continue
		}
		if _, err := Reindex(path); err != nil || schemaOf(t, path) != 1 {
			t.Errorf("Reindex: %v", err)
		}
		mustClose(t, openAt(t, path, Options{}))
	}
}

// A release that knows schema 1 alone sees a number that it does not know.
func TestMigratedFileSaysItsSchema(t *testing.T) {
	path := unpack(t, "v1-story.db")
	mustClose(t, openAt(t, path, Options{}))
	editBolt(t, path, func(tx *bolt.Tx) error {
		raw := tx.Bucket(bucketMeta).Get(keyIdentity)
		if raw[3] != schemaVersion {
			t.Errorf("identity begins with % x", raw[:4])
		}
		return nil
	})
}
