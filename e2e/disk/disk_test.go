package disk

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/disk/trace"
	"github.com/ebbtide/ebbtide/e2e/disk/writer"
)

const writerEnv = "EBBTIDE_DISK_TEST_WRITER=1"

func TestMain(m *testing.M) {
	if name, value, _ := strings.Cut(writerEnv, "="); os.Getenv(name) == value {
		os.Exit(writer.Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func small() Config {
	return Config{
		Program: []string{os.Args[0]}, Env: []string{writerEnv}, Seed: 1,
		Appends: 40, StatesPerCut: 2, EIO: 24, ENOSPC: 20, Limits: []int{40 << 10}, Flips: 160, Kills: 15,
	}
}

// All parts of a small run find nothing wrong, and every control is found guilty.
func TestSmallRun(t *testing.T) {
	c := small()
	c.Dir = t.TempDir()
	var out bytes.Buffer
	c.Out = &out
	counts, err := Run(context.Background(), c)
	t.Logf("%s%s", out.String(), counts)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "skipped") {
		t.Skip("programs cannot be traced here: power cuts and failing calls were not tried")
	}
	if counts.CrashStates < 160 || counts.EIO != 24 || counts.ENOSPC != 21 || counts.Flips != 160 || counts.Sigkills != 15 {
		t.Errorf("not everything was tried: %s", counts)
	}
	if counts.AckedLost+counts.Duplicates+counts.ChainBreaks+counts.Unnoticed+counts.Deaths > 0 || counts.Controls != 4 {
		t.Errorf("counts: %s", counts)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Where nothing can be traced the rest is tried, and what was not is said and not counted.
func TestWithoutTracing(t *testing.T) {
	c := small()
	c.Dir, c.Flips, c.Kills = t.TempDir(), 160, 10
	var out bytes.Buffer
	c.Out = &out
	c.tracer = func(context.Context, []string, []string, string, *trace.Fault) (*trace.Record, error) {
		return nil, trace.ErrUnavailable
	}
	counts, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if counts.CrashStates != 0 || counts.EIO != 0 || counts.ENOSPC != 1 || counts.Flips != 160 || counts.Sigkills != 10 {
		t.Errorf("counts: %s", counts)
	}
	if strings.Count(out.String(), "skipped   trace the writer: programs cannot be traced here") != 2 {
		t.Errorf("said: %s", out.String())
	}
}

// A run that finds something says so: here the writer acknowledges what it never wrote.
func TestFaultsAreErrors(t *testing.T) {
	c := small()
	c.Dir, c.Appends, c.StatesPerCut, c.EIO, c.ENOSPC, c.Kills = t.TempDir(), 20, 1, 16, 0, 5
	var out bytes.Buffer
	c.Out = &out
	c.tracer = func(ctx context.Context, argv, env []string, file string, fault *trace.Fault) (*trace.Record, error) {
		record, err := trace.Run(ctx, argv, env, file, fault)
		if err != nil {
			return nil, err
		}
		// All that was acknowledged is said at the beginning.
		said := func(op trace.Op) bool { return op.Call == trace.Said }
		var first []trace.Op
		for _, op := range record.Ops {
			if said(op) {
				first = append(first, op)
			}
		}
		record.Ops = append(first, slices.DeleteFunc(record.Ops, said)...)
		return record, nil
	}
	counts, err := Run(context.Background(), c)
	if strings.Contains(out.String(), "skipped") {
		t.Skip("programs cannot be traced here")
	}
	if err == nil || !strings.Contains(err.Error(), "power cut: head") || counts.AckedLost == 0 {
		t.Errorf("error %v, counts %s", err, counts)
	}
}

// The states of a power cut are those that a disk may leave: synced writes whole, others in
// any subset of sectors, nothing from after the cut.
func TestStates(t *testing.T) {
	fill := func(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
	r := &recording{base: fill('-', 1024), ops: []trace.Op{
		{Call: trace.Write, Off: 0, Data: fill('a', 512)},
		{Call: trace.Sync},
		{Call: trace.Said, Data: []byte("ACK 1 x\nACK 2")},
		{Call: trace.Truncate, Off: 2048},
		{Call: trace.Write, Off: 512, Data: fill('b', 1024)},
		{Call: trace.Write, Off: 512, Data: fill('c', 512)},
		{Call: trace.Write, Off: 0, Data: fill('e', 512), Err: syscall.EIO},
		{Call: trace.Sync, Err: syscall.EIO},
		{Call: trace.Write, Off: 0, Data: fill('d', 512)},
		{Call: trace.Sync},
		{Call: trace.Write, Off: 0, Data: fill('z', 512)},
	}}
	if cuts := r.cuts(); !slices.Equal(cuts, []int{1, 7, 9, 11}) {
		t.Fatalf("cuts at %v", cuts)
	}
	if acks := r.acks(7); len(acks) != 1 || acks[0] != (ack{1, "x"}) {
		t.Errorf("acknowledged: %v", acks)
	}
	tests := []struct {
		cut, without int
		want         []string // one letter a sector; all that there are
	}{
		{1, -1, []string{"--", "a-"}},
		{7, -1, []string{"a-", "a-\x00\x00", "ab", "ac", "ab\x00\x00", "ac\x00\x00", "a-b", "a-b\x00", "abb", "abb\x00", "acb", "acb\x00"}},
		// The failed sync made nothing durable.
		{9, -1, []string{"a-", "a-\x00\x00", "d-", "d-\x00\x00", "ab", "ac", "db", "dc", "ab\x00\x00", "ac\x00\x00", "db\x00\x00", "dc\x00\x00",
			"a-b", "a-b\x00", "d-b", "d-b\x00", "abb", "abb\x00", "acb", "acb\x00", "dbb", "dbb\x00", "dcb", "dcb\x00"}},
		{11, -1, []string{"dcb\x00", "zcb\x00"}},
		// Without the first sync, what it was about may be missing for longer.
		{7, 1, []string{"--", "a-", "--\x00\x00", "a-\x00\x00", "-b", "-c", "ab", "ac", "-b\x00\x00", "-c\x00\x00", "ab\x00\x00", "ac\x00\x00",
			"--b", "--b\x00", "a-b", "a-b\x00", "-bb", "-bb\x00", "-cb", "-cb\x00", "abb", "abb\x00", "acb", "acb\x00"}},
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for _, test := range tests {
		var got []string
		for range 3000 {
			file := r.state(test.cut, test.without, rng)
			var letters []byte
			for at := 0; at < len(file); at += sector {
				letters = append(letters, file[at])
				if !bytes.Equal(file[at:at+sector], fill(file[at], sector)) {
					t.Fatalf("cut %d: a sector is torn", test.cut)
				}
			}
			if !slices.Contains(got, string(letters)) {
				got = append(got, string(letters))
			}
		}
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("cut %d without %d: states %q, want %q", test.cut, test.without, got, test.want)
		}
	}
}

// A judgement of each kind of fault.
func TestTestify(t *testing.T) {
	path := t.TempDir() + "/ledger.db"
	if err := writer.Create(path); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := writer.Main([]string{"append", "-file", path, "-until", "9"}, nil, &out, &out); code != 0 {
		t.Fatal(out.String())
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	acks := readAcks(out.String())
	if j := testify(file, acks, 1); j.guilty() || j.inDoubt || j.head != 9 {
		t.Errorf("all acknowledged: %s", j)
	}
	if j := testify(file, acks[:8], 1); j.guilty() || !j.inDoubt {
		t.Errorf("one in doubt: %s", j)
	}
	if j := testify(file, acks[:6], 1); j.extra != 2 {
		t.Errorf("two too many: %s", j)
	}
	if j := testify(file, append(slices.Clone(acks), ack{10, "-"}), 1); j.lost != 1 {
		t.Errorf("one lost: %s", j)
	}
	if j := testify(file, []ack{{9, acks[7].hash}}, 1); j.lost != 1 {
		t.Errorf("another in its place: %s", j)
	}
	if j := testify(file[:len(file)/2], acks, 1); len(j.chain) == 0 || j.lost != 9 {
		t.Errorf("half a file: %s", j)
	}
}
