package segments

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
	"github.com/ebbtide/ebbtide/broker/ledger/seal/sealtest"
)

func newSigner(t *testing.T) *seal.Signer {
	t.Helper()
	private, _, err := sealtest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := seal.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Files that do not belong together are refused, whatever each of them is in itself.
func TestFilesThatDoNotFollow(t *testing.T) {
	three := func(t *testing.T) (*desk, func(string) string) {
		d := twoMonths(t, Options{})
		d.pass(31 * 24 * time.Hour)
		d.must(t, later(ledger.Released, 2))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return d, func(month string) string { return ArchiveName(d.path, month) }
	}
	for name, tc := range map[string]struct {
		damage func(t *testing.T, d *desk, archive func(string) string)
		want   string
	}{
		"one is missing in between": {func(t *testing.T, d *desk, archive func(string) string) {
			if err := os.Remove(archive("2026-11")); err != nil {
				t.Fatal(err)
			}
		}, "does not follow"},
		"one of another ledger": {func(t *testing.T, d *desk, archive func(string) string) {
			_, others := three(t)
			copyFile(t, others("2026-11"), archive("2026-11"))
		}, "it is of ledger"},
		"one twice": {func(t *testing.T, d *desk, archive func(string) string) {
			copyFile(t, archive("2026-10"), archive("2026-09"))
		}, "does not follow"},
		"one that was written on": {func(t *testing.T, d *desk, archive func(string) string) {
			old := archive("2026-10")
			copyFile(t, old, old)
			l, err := ledger.Open(old, ledger.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append(later(ledger.Released, 2)); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}, "ends with CHECKPOINT"},
		"a flipped byte": {func(t *testing.T, d *desk, archive func(string) string) {
			old := archive("2026-10")
			data, err := os.ReadFile(old)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.LastIndex(data, []byte("op-1-RELEASED"))
			data[at] ^= 1
			copyFile(t, old, old)
			if err := os.WriteFile(old, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			d, archive := three(t)
			tc.damage(t, d, archive)
			report, err := Check(d.path, seal.PublicKey{})
			if err != nil || report.OK() || !strings.Contains(report.String(), tc.want) {
				t.Errorf("Check: %v, want %q\n%s", err, tc.want, report)
			}
			if _, err := Open(d.path, d.opts); !errors.Is(err, ledger.ErrCorrupt) && !errors.Is(err, ledger.ErrTransition) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// What is carried is what was open: a file made with another balance, and sound in itself, is
// found.
func TestForgedCarrying(t *testing.T) {
	d := twoMonths(t, Options{})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	forge := func(t *testing.T, change func(string) string) string {
		t.Helper()
		old, err := ledger.OpenArchive(ArchiveName(d.path, "2026-10"), ledger.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		path := filepath.Join(t.TempDir(), "ledger.db")
		copyFile(t, old.Path(), ArchiveName(path, "2026-10"))
		made := filepath.Join(t.TempDir(), "made.db")
		sound, err := old.Continue(made, "2026-11")
		if err != nil {
			t.Fatal(err)
		}
		defer sound.Close()
		identity, err := sound.Identity()
		if err != nil {
			t.Fatal(err)
		}
		if err := ledger.Begin(path, identity); err != nil {
			t.Fatal(err)
		}
		forged, err := ledger.Open(path, ledger.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer forged.Close()
		first, err := sound.Read(1, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range first {
			e.Payload = []byte(change(string(e.Payload)))
			if _, err := forged.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	for name, change := range map[string]func(string) string{
		"another balance": func(s string) string { return strings.ReplaceAll(s, "14400000", "14400001") },
		"another node":    func(s string) string { return strings.ReplaceAll(s, `"gpu-1"`, `"gpu-9"`) },
		"another start":   func(s string) string { return strings.ReplaceAll(s, `"StartSeq":5`, `"StartSeq":4`) },
	} {
		report, err := Check(forge(t, change), seal.PublicKey{})
		if err != nil || report.OK() || !strings.Contains(report.String(), "and at the end of the file before it was") {
			t.Errorf("%s: %v\n%s", name, err, report)
		}
	}
	if report, err := Check(forge(t, func(s string) string { return s }), seal.PublicKey{}); err != nil || !report.OK() {
		t.Errorf("the same: %v\n%s", err, report)
	}
}

// Checkpoints stand where they are promised, are right, and are signed with the key.
func TestCheckpoints(t *testing.T) {
	signer := newSigner(t)
	var heard []uint64
	d := newDesk(t, Options{
		Signer: signer, CheckpointEntries: 5,
		Checkpointed: func(p ledger.CheckpointPayload) { heard = append(heard, p.Seq) },
	})
	tick := func() {
		t.Helper()
		if err := d.Tick(); err != nil {
			t.Fatal(err)
		}
	}
	d.must(t, lend(1), later(ledger.LendGranted, 1))
	tick()
	d.pass(time.Hour)
	tick() // of 2, as entry 3
	d.pass(time.Hour)
	tick() // nothing after it
	d.must(t, lend(2), later(ledger.LendGranted, 2), lend(3))
	d.reopen(t)
	d.must(t, later(ledger.LendGranted, 3), later(ledger.Released, 1)) // of 8, as entry 9
	d.must(t, later(ledger.Stopped, 2))
	d.pass(30 * time.Minute)
	d.reopen(t)
	tick()
	d.pass(30 * time.Minute)
	tick() // of 10, as entry 11
	d.must(t, later(ledger.Stopped, 3))
	d.pass(nextMonth)
	d.must(t, lend(4)) // of 12, as entry 13
	if len(heard) != 4 || heard[0] != 2 || heard[1] != 8 || heard[2] != 10 || heard[3] != 12 {
		t.Errorf("checkpoints of %v, want of 2, 8, 10 and 12", heard)
	}
	report := d.checkClosed(t, signer.Public())
	if !report.OK() || len(report.Checkpoints) != 4 || len(report.Checkpoints[3].Totals) != 2 {
		t.Errorf("%s\n%+v", report, report.Checkpoints)
	}
	if report := d.checkClosed(t, newSigner(t).Public()); report.OK() || !strings.Contains(report.String(), "signed by another key") {
		t.Errorf("by another key: %s", report)
	}
	if report := d.sound(t); !strings.Contains(report.String(), "4 checkpoints, 4 of them signed") {
		t.Errorf("notes are %q", report.Notes)
	}
}

// Without a key a check says that nothing is signed.
func TestUnsigned(t *testing.T) {
	d := twoMonths(t, Options{})
	report := d.checkClosed(t, seal.PublicKey{})
	if !report.OK() || !strings.Contains(report.String(), "1 checkpoints are not signed") {
		t.Errorf("%s", report)
	}
	if report := d.checkClosed(t, newSigner(t).Public()); report.OK() || !strings.Contains(report.String(), "no checkpoint is signed by the key") {
		t.Errorf("with a key asked for: %s", report)
	}
}

// A signature of another history: the file is right in itself, and the key tells.
func TestForgedSignature(t *testing.T) {
	d := twoMonths(t, Options{Signer: newSigner(t)})
	other := newSigner(t)
	p := ledger.CheckpointPayload{}
	p.Seq, p.Hash = d.Head()
	other.Sign("another ledger", &p)
	payload := []byte(`{"seq":` + strings.Join(strings.Fields(jsonOf(t, p)), "")[len(`{"seq":`):])
	d.must(t, ledger.Entry{Kind: ledger.Checkpoint, OpID: "forged", Epoch: 1, Payload: payload})
	report, err := d.Verify()
	if err != nil || report.OK() || !strings.Contains(report.String(), "signature is wrong") {
		t.Errorf("%v\n%s", err, report)
	}
}

func TestPrune(t *testing.T) {
	d := twoMonths(t, Options{})
	for range 2 {
		d.pass(31 * 24 * time.Hour)
		d.must(t, ledger.Entry{Kind: ledger.EpochStart, OpID: d.clock.Now().String(), Epoch: 2})
	}
	prune := func(month string) []Pruned {
		t.Helper()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		removed, err := Prune(d.path, month, "ada")
		if err != nil {
			t.Fatal(err)
		}
		d.open(t)
		return removed
	}
	for _, e := range []ledger.Entry{later(ledger.Released, 2), later(ledger.Released, 3), {Kind: ledger.ReshapeFailed, OpID: "r1", Payload: []byte(`{}`)}} {
		if removed := prune("2026-11"); len(removed) != 0 {
			t.Errorf("what is open began there, removed %+v", removed)
		}
		e.Epoch = 2
		d.must(t, e)
	}
	before := d.Balances()
	d.must(t, ledger.Entry{Kind: ledger.LendAborted, OpID: "aborted", Epoch: 2, Loan: "research/loan-4"})
	if removed := prune("2026-10"); len(removed) != 0 {
		t.Errorf("removed %+v", removed)
	}
	removed := prune("2026-11")
	if len(removed) != 1 || removed[0].From != 1 || removed[0].To != 9 || removed[0].Path != ArchiveName(d.path, "2026-10") {
		t.Errorf("removed %+v", removed)
	}
	if removed := prune("2030-01"); len(removed) != 1 { // the one before the newest stays
		t.Errorf("removed %+v", removed)
	}
	if got, want := d.names(t), "ledger-202612.db 400\nledger.db 600\n"; got != want {
		t.Errorf("files are\n%swant\n%s", got, want)
	}
	var gaps []string
	for _, e := range entries(t, d.Set) {
		if e.Kind == ledger.Gap {
			gaps = append(gaps, string(e.Payload))
		}
	}
	if len(gaps) != 2 || !strings.Contains(gaps[0], `"from":1,"to":9`) || !strings.Contains(gaps[1], `"from":10`) || !strings.Contains(gaps[1], "by ada") {
		t.Errorf("gaps %q", gaps)
	}
	if report := d.sound(t); !strings.Contains(report.String(), "are in older files that are not here") {
		t.Errorf("notes %q", report.Notes)
	}
	if after := d.Balances(); len(after) != len(before) || after[0] != before[0] {
		t.Errorf("balances %+v, before %+v", after, before)
	}
	if _, err := Prune(d.path, "2026", "ada"); err == nil {
		t.Error("a year is no month")
	}
	if _, err := Prune(filepath.Join(t.TempDir(), "none.db"), "2026-10", "ada"); err == nil {
		t.Error("there is none")
	}
	if _, err := Prune(d.path, "2026-12", "ada"); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("beside a broker: %v", err)
	}
}

// All files together are held to MaxBytes.
func TestMaxBytesOfAllFiles(t *testing.T) {
	d := twoMonths(t, Options{})
	first, err := d.files[0].Bytes()
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.files[1].Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d.opts.MaxBytes = first + second
	d.reopen(t)
	if _, err := d.Append(lend(9)); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("a loan beyond it: %v", err)
	}
	d.must(t, later(ledger.Released, 2))
	d.opts.MaxBytes += 1 << 20
	d.reopen(t)
	d.must(t, lend(9))
}
