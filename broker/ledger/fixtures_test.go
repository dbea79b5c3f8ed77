package ledger

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var writeFixtures = flag.Bool("write-fixtures", false, "write whole files of this release's schema to testdata/files; never over older ones")

// fixture is a whole file as one release wrote it. It must be readable for ever: its
// entries, its head and what follows from them are pinned here and not taken from the file.
type fixture struct {
	file     string
	entries  uint64
	head     string
	epoch    int64
	open     []string // loan and state
	reshapes []string
	balances []string
}

var fixtures = []fixture{
	{file: "v1-empty.db", head: "29a42e2d447ee39d7b16a6456d5150a72dd01d4ca3a13b7b8c76a8d374a6bae8"},
	{
		file: "v1-large.db", entries: 6, head: "11076d1283a5406aae9b6864917cb4c30acf878b093c645f4445b74b167d6a9b", epoch: 3,
		open: []string{"ml-1/train-1 Granted"},
	},
	{
		file: "v1-story.db", entries: 275, head: "c820eb0aee16ba00f80fb62d5e695d9ebaa48c9822031c59d8d4e402527acd22", epoch: 4,
		open: []string{
			"ml-0/train-102 Reclaiming", "ml-1/train-100 Intended", "ml-1/train-103 Granted", "ml-2/train-101 Granted", "ml-2/train-104 Granted",
		},
		reshapes: []string{"shape-intended made=false", "shape-made made=true"},
		balances: []string{
			"borrower ml-0 h100 -194769000", "borrower ml-1 a100 -64932000", "borrower ml-1 h100 -81229000",
			"borrower ml-2 h100 -86614000", "borrower ml-2 nvidia.com/mig-1g.10gb -64938000",
			"lender search/rank a100 64932000", "lender search/rank h100 64932000",
			"lender search/rank nvidia.com/mig-1g.10gb 64938000", "lender serving/chat h100 297680000",
		},
	},
	{file: "v2-empty.db", head: "a624cec64e34908e1734dbf42422fa175ca2f0e9ef183af0e214354886df17b2"},
	{
		file: "v2-large.db", entries: 6, head: "22e0ef48304f13da8377bd673148774a95baeef448ca8b3e49b471b6017f9e3b", epoch: 3,
		open: []string{"ml-1/train-1 Granted"},
	},
	{
		file: "v2-next.db", entries: 27, head: "ac6c9cd524496d4f73d36dfd5091bc84ad8f8dcb3220b1d2b2b71469ce7875ff", epoch: 4,
		open: []string{
			"ml-1/train-100 Intended", "ml-1/train-103 Granted", "ml-2/train-101 Granted", "ml-2/train-104 Granted",
		},
		reshapes: []string{"shape-intended made=false"},
		balances: []string{
			"borrower ml-0 h100 -126697000", "borrower ml-1 a100 -64932000", "borrower ml-1 h100 -108216000",
			"borrower ml-2 h100 -135252000", "borrower ml-2 nvidia.com/mig-1g.10gb -64938000",
			"lender search/rank a100 64956000", "lender search/rank h100 65154000",
			"lender search/rank nvidia.com/mig-1g.10gb 64962000", "lender serving/chat h100 305283000",
			"lost  a100 -18000", "lost  h100 -109000", "lost  nvidia.com/mig-1g.10gb -18000",
			"quarantine  a100 -6000", "quarantine  h100 -163000", "quarantine  nvidia.com/mig-1g.10gb -6000",
		},
	},
	{
		file: "v2-story.db", entries: 321, head: "08e7f3f408fb2115c6504ae924fc597da15db700002272a8de29a5b332bd3c3e", epoch: 4,
		open: []string{
			"ml-0/train-102 Reclaiming", "ml-0/train-105 Quarantined", "ml-1/train-100 Intended",
			"ml-1/train-103 Granted", "ml-2/train-101 Granted", "ml-2/train-104 Granted",
		},
		reshapes: []string{"shape-intended made=false", "shape-made made=true"},
		balances: []string{
			"borrower ml-0 h100 -126349000", "borrower ml-1 a100 -64932000", "borrower ml-1 h100 -108216000",
			"borrower ml-2 h100 -135252000", "borrower ml-2 nvidia.com/mig-1g.10gb -64938000",
			"lender search/rank a100 64956000", "lender search/rank h100 64956000",
			"lender search/rank nvidia.com/mig-1g.10gb 64962000", "lender serving/chat h100 305003000",
			"lost  a100 -18000", "lost  h100 -109000", "lost  nvidia.com/mig-1g.10gb -18000",
			"quarantine  a100 -6000", "quarantine  h100 -33000", "quarantine  nvidia.com/mig-1g.10gb -6000",
		},
	},
}

// unpack writes a fixture's file to a folder of the test.
func unpack(t testing.TB, name string) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(readFile(t, filepath.Join("testdata", "files", name+".gz"))))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	writeFile(t, path, data)
	return path
}

func pack(t testing.TB, path, name string) {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(readFile(t, path)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join("testdata", "files", name+".gz"), b.Bytes())
}

// teller writes a story into a ledger, an entry each second.
type teller struct {
	t     *testing.T
	l     *Ledger
	n     int
	epoch int64
	boot  string
}

func (s *teller) tell(e Entry) {
	s.t.Helper()
	s.n++
	e.Epoch, e.BootID, e.MonoNS = s.epoch, s.boot, int64(s.n)*int64(time.Second)
	e.Time = t0.Add(time.Duration(s.n) * time.Second)
	if e.OpID == "" {
		e.OpID = fmt.Sprintf("op-%d", s.n)
	}
	mustAppend(s.t, s.l, e)
}

func (s *teller) loan(i int, kinds ...Kind) {
	s.t.Helper()
	for _, kind := range kinds {
		e := Entry{Kind: kind, Loan: fmt.Sprintf("ml-%d/train-%d", i%3, i)}
		switch {
		case opens(kind):
			e.Job, e.JobUID, e.Borrower = e.Loan, fmt.Sprintf("uid-%d", i), fmt.Sprintf("ml-%d", i%3)
			e.Grants = []Grant{
				{Lender: "serving/chat", Node: fmt.Sprintf("gpu-%d", i%5), Flavor: "h100", Count: int64(2 + i%7)},
				{Lender: "search/rank", Node: "gpu-9", Flavor: []string{"h100", "a100", "nvidia.com/mig-1g.10gb"}[i%3], Count: 3},
				{Node: "gpu-9", Flavor: "h100", Count: 1},
			}
			e.Reason, e.Message = "BelowLowWater", "chat at 20 % (< 30 %) for 5m0s · très calme"
			e.Payload = []byte(`{"queue":"ml/q","lenders":{"search/rank":"search","serving/chat":"online"}}`)
			e.Signals = []Value{{"load", 0.125 * float64(i)}, {"unknown", math.NaN()}, {"far", math.Inf(1)}}
			if kind == Recovered {
				e.At = t0.Add(time.Duration(s.n)*time.Second - 90*time.Minute)
			}
		case kind == ReclaimIntent, kind == ShedIntent:
			e.ReclaimID, e.Payload = fmt.Sprintf("r-%d", i), []byte(`{"reclaimBy":"2026-03-29T01:00:00Z","owed":[{"pods":1,"unitsPerPod":8}]}`)
		case kind == Lost:
			e.Payload = fmt.Appendf(nil, `{"lastHeard":%q}`, t0.Add(time.Duration(s.n-1)*time.Second).Format(time.RFC3339))
		case kind.Sheds():
			e.Grants = []Grant{{Lender: "serving/chat", Node: fmt.Sprintf("gpu-%d", i%5), Flavor: "h100", Count: 1}}
		}
		s.tell(e)
	}
}

func (s *teller) reshape(id string, kinds ...Kind) {
	s.t.Helper()
	for _, kind := range kinds {
		s.tell(Entry{Kind: kind, OpID: id, Job: "ml-0/sliced", JobUID: "uid-" + id, Borrower: "ml-0", Payload: []byte(`{"node":"gpu-3","from":"7g.80gb","to":"1g.10gb","made":7}`)})
	}
}

// tellAll writes every kind in every place that it may have, with loans open and closed.
func (s *teller) tellAll() {
	closed := [][]Kind{
		{LendIntent, LendAborted},
		{LendIntent, LendGranted, Released},
		{LendIntent, LendGranted, Stopped, Preempted},
		{LendIntent, LendGranted, Lost},
		{LendIntent, LendGranted, ReclaimIntent, Stopped, Killed, ReclaimDone},
		{LendIntent, LendGranted, ReclaimIntent, Stopped, Lost},
		{LendIntent, LendGranted, ShedIntent, Stopped, Shed, Released},
		{LendIntent, LendGranted, ShedIntent, ShedLost, ReclaimIntent, ReclaimDone},
		{Recovered, Released},
		{Recovered, ReclaimIntent, Killed, Preempted},
		{LendIntent, LendGranted, ReclaimIntent, Killed, Quarantined, Unquarantined},
	}
	for i := range 66 {
		s.loan(i, closed[i%len(closed)]...)
		if i%20 == 7 {
			s.tell(Entry{Kind: Refused, Job: "ml-2/too-big", Borrower: "ml-2", Reason: "NoRoom", Message: strings.Repeat("no node has 16 units; ", 20)})
			s.tell(Entry{Kind: Correction, Corrects: uint64(s.n - 3), Message: "the node was named wrongly"})
		}
	}
	s.tell(Entry{Kind: Correction, Corrects: 5, Message: "an hour too much", Payload: []byte(
		`{"postings":[{"account":"borrower/ml-0","flavor":"h100","unitMS":3600000},{"account":"lender/serving/chat","flavor":"h100","unitMS":-3600000,"tenant":"online"}]}`)})
	s.tell(Entry{Kind: PolicyMissing, Message: "ebbtide-loans was deleted"})
	s.tell(Entry{Kind: PolicyBack})
	s.tell(Entry{Kind: Gap, Payload: []byte(`{"from":300,"to":310,"why":"an old copy"}`)})
	seq, hash := s.l.Head()
	s.tell(Entry{Kind: Checkpoint, Payload: fmt.Appendf(nil, `{"seq":%d,"hash":"%s"}`, seq, hash)})
	s.reshape("shape-undone", ReshapeIntent, ReshapeDone, ReshapeUndone)
	s.reshape("shape-early", ReshapeIntent, ReshapeUndone)
	s.reshape("shape-failed", ReshapeIntent, ReshapeFailed)
	s.epoch++
	s.boot += "+"
	s.tell(Entry{Kind: EpochStart})
	s.reshape("shape-intended", ReshapeIntent)
	s.reshape("shape-made", ReshapeIntent, ReshapeDone)
	s.loan(100, LendIntent)
	s.loan(101, LendIntent, LendGranted)
	s.loan(102, LendIntent, LendGranted, ReclaimIntent, Stopped)
	s.loan(103, Recovered)
	s.loan(104, LendIntent, LendGranted, ShedIntent, Shed)
	s.loan(105, LendIntent, LendGranted, ReclaimIntent, Killed, Quarantined)
}

// carryOn is the start of a file that goes on where another ended.
func (s *teller) carryOn() {
	old := openAt(s.t, tempPath(s.t), Options{})
	before := &teller{t: s.t, l: old, epoch: 3, boot: "boot"}
	before.tellAll()
	loans, shapes, accounts := old.OpenLoans(), old.OpenReshapes(), balances(old)
	s.n, s.epoch = before.n, before.epoch
	s.tell(Entry{Kind: SegmentStart, Payload: fmt.Appendf(nil, `{"month":"2026-04","open":%d,"accounts":%d}`, len(loans)+len(shapes), len(accounts))})
	for _, l := range loans {
		s.carry(CarriedPayload{Loan: Carry(l)})
	}
	for _, r := range shapes {
		s.carry(CarriedPayload{Reshape: &r})
	}
	for _, b := range accounts {
		s.carry(CarriedPayload{Account: &Posting{Account: b.Account, Flavor: b.Flavor, UnitMS: b.UnitMS}})
	}
}

func (s *teller) carry(p CarriedPayload) {
	s.t.Helper()
	payload, err := json.Marshal(p)
	if err != nil {
		s.t.Fatal(err)
	}
	s.tell(Entry{Kind: Carried, Payload: payload})
}

// TestWriteFixtures makes the files, when a schema is new.
func TestWriteFixtures(t *testing.T) {
	if !*writeFixtures {
		t.Skip("only with -write-fixtures")
	}
	for name, tell := range map[string]func(*teller){
		"empty": func(*teller) {},
		"story": (*teller).tellAll,
		"next": func(s *teller) { // goes on where a story ended, and ends what was open
			s.carryOn()
			s.loan(102, ReclaimDone)
			s.loan(105, Unquarantined)
			s.reshape("shape-made", ReshapeUndone)
		},
		"large": func(s *teller) { // records that fill several pages
			s.tell(Entry{Kind: EpochStart})
			for range 3 {
				s.tell(Entry{Kind: Refused, Job: "ml-2/talkative", Borrower: "ml-2", Message: strings.Repeat("x", MaxMessageBytes),
					Payload: []byte(`{"x":"` + strings.Repeat("y", 100<<10) + `"}`)})
			}
			s.loan(1, LendIntent, LendGranted)
		},
	} {
		path := tempPath(t)
		l := openAt(t, path, Options{ClusterUID: "cluster-" + name})
		s := &teller{t: t, l: l, epoch: 3, boot: "boot"}
		tell(s)
		mustClose(t, l)
		file := fmt.Sprintf("v%d-%s.db", schemaVersion, name)
		pack(t, path, file)
		t.Logf("%#v", describe(t, file, path))
	}
}

// describe checks a file and says what is in it.
func describe(t *testing.T, name, path string) fixture {
	t.Helper()
	report, err := quickCheck(path)
	if err != nil || !report.OK() {
		t.Fatalf("Check %s: %v %v", name, err, report.Err())
	}
	l := openAt(t, path, Options{})
	out := fixture{file: name, entries: report.Entries, head: report.HeadHash.String(), epoch: report.Epoch}
	for _, loan := range report.OpenLoans {
		out.open = append(out.open, loan.Loan+" "+loan.State.String())
	}
	for _, b := range report.Balances {
		out.balances = append(out.balances, fmt.Sprintf("%s %s %s %d", b.Account.Side, b.Account.Name, b.Flavor, b.UnitMS))
	}
	for _, r := range l.OpenReshapes() {
		out.reshapes = append(out.reshapes, fmt.Sprintf("%s made=%t", r.ID, r.Made))
	}
	var n uint64
	for entries := []Entry(nil); ; {
		from := uint64(0)
		if len(entries) > 0 {
			from = entries[len(entries)-1].Seq + 1
		}
		if entries, err = l.Read(from, 0); err != nil || len(entries) == 0 {
			break
		}
		n += uint64(len(entries))
	}
	if err != nil || n != report.Entries {
		t.Errorf("%s: read %d entries of %d: %v", name, n, report.Entries, err)
	}
	mustClose(t, l)
	return out
}

// Files of every schema that a release has written are read, each to its head.
func TestFixtures(t *testing.T) {
	if len(fixtures) == 0 {
		t.Fatal("no fixtures")
	}
	for _, want := range fixtures {
		t.Run(want.file, func(t *testing.T) {
			got := describe(t, want.file, unpack(t, want.file))
			if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
				t.Errorf("file has\n%#v\nwant\n%#v", got, want)
			}
		})
	}
	names, err := filepath.Glob(filepath.Join("testdata", "files", "*.db.gz"))
	if err != nil || len(names) != len(fixtures) {
		t.Errorf("%d files, %d of them pinned (%v)", len(names), len(fixtures), err)
	}
}

// The stories have every kind, so that no kind is without a file that has it.
func TestFixturesHaveEveryKind(t *testing.T) {
	seen := map[Kind]bool{}
	for _, f := range fixtures {
		l := openAt(t, unpack(t, f.file), Options{})
		for _, e := range allEntries(t, l) {
			seen[e.Kind] = true
		}
		mustClose(t, l)
	}
	missing := slices.DeleteFunc(Kinds(), func(k Kind) bool { return seen[k] })
	if len(missing) > 0 {
		t.Errorf("no file has %v", missing)
	}
}
