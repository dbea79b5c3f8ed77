package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// history has every field, and what is hard to write.
func history(t *testing.T) []json.RawMessage {
	t.Helper()
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	entries := []ledger.Entry{
		{Kind: ledger.EpochStart, OpID: "epoch"},
		{
			Kind: ledger.LendIntent, OpID: "a", Loan: "ns/a", Job: "ns/job", JobUID: "u", Borrower: "research", Reason: "BelowLowWater",
			Message: "=1+1, \"quoted\"\nand ünïcode <b>", Payload: []byte(`{"queue":"ns/q","n":1.50}`),
			Grants: []ledger.Grant{{Node: "n-1", Flavor: "a100", Count: 1}, {Lender: "serving/chat", Node: "n-0", Flavor: "h100", Count: 8}},
			Signals: []ledger.Value{
				{Name: "a", Value: 0.74}, {Name: "b", Value: math.NaN()}, {Name: "c", Value: math.Inf(-1)}, {Name: "d", Value: math.SmallestNonzeroFloat64}},
		},
		{Kind: ledger.LendGranted, OpID: "a", Loan: "ns/a", At: at.Add(-time.Second)},
		{Kind: ledger.ReclaimIntent, OpID: "a", Loan: "ns/a", ReclaimID: "r-1", Reason: "@SUM(A1)"},
		{Kind: ledger.ReclaimDone, OpID: "a", Loan: "ns/a"},
		{Kind: ledger.Correction, OpID: "c", Corrects: 2, Message: "-7 units"},
	}
	for i := range entries {
		entries[i].Epoch, entries[i].Time = 3, at.Add(time.Duration(i)*time.Minute)
	}
	if _, err := l.AppendAll(entries); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := l.Export(&out, 1); err != nil {
		t.Fatal(err)
	}
	var raw []json.RawMessage
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		raw = append(raw, json.RawMessage(line))
	}
	return raw
}

func write(t *testing.T, format string, entries []json.RawMessage) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := New(&out, format)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// entry is what a row was made of.
func (r *Entry) entry(t *testing.T) ledger.Entry {
	t.Helper()
	e := ledger.Entry{
		Seq: r.Seq, Time: time.Unix(0, r.Time).UTC(), MonoNS: r.MonoNS, BootID: r.BootID, Epoch: r.Epoch, OpID: r.OpID, Loan: r.Loan,
		Job: r.Job, JobUID: r.JobUID, Borrower: r.Borrower, Reason: r.Reason, Message: r.Message, ReclaimID: r.ReclaimID, Corrects: r.Corrects,
	}
	if r.At != nil {
		e.At = time.Unix(0, *r.At).UTC()
	}
	for _, g := range r.Grants {
		e.Grants = append(e.Grants, ledger.Grant(g))
	}
	for _, v := range r.Signals {
		e.Signals = append(e.Signals, ledger.Value(v))
	}
	if r.Payload != "" {
		e.Payload = json.RawMessage(r.Payload)
	}
	if err := errors.Join(e.Kind.UnmarshalText([]byte(r.Kind)), e.PrevHash.UnmarshalText([]byte(r.PrevHash)), e.Hash.UnmarshalText([]byte(r.Hash))); err != nil {
		t.Fatal(err)
	}
	return e
}

// A Parquet file that is read back is the JSON lines.
func TestParquetHasAllOfAnEntry(t *testing.T) {
	entries := history(t)
	lines := write(t, "jsonl", entries)
	data := write(t, "parquet", entries)
	rows, err := parquet.Read[Entry](bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	enc := json.NewEncoder(&again)
	enc.SetEscapeHTML(false)
	for i := range rows {
		if err := enc.Encode(rows[i].entry(t)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(lines), again.String()); diff != "" {
		t.Errorf("read back (-lines +parquet):\n%s", diff)
	}
}

func TestSheetHasARowForEachGrant(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(write(t, "csv", history(t)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	var got []string
	for _, row := range rows[1:] {
		got = append(got, strings.Join([]string{
			row[column["seq"]], row[column["kind"]], row[column["lender"]], row[column["flavor"]], row[column["count"]],
			row[column["reason"]], row[column["message"]], row[column["corrects"]]}, "|"))
	}
	text := "'=1+1, \"quoted\"\nand ünïcode <b>"
	want := []string{
		"1|EPOCH_START||||||",
		"2|LEND_INTENT||a100|1|BelowLowWater|" + text + "|", "2|LEND_INTENT|serving/chat|h100|8|BelowLowWater|" + text + "|",
		"3|LEND_GRANTED||a100|1|||", "3|LEND_GRANTED|serving/chat|h100|8|||",
		"4|RECLAIM_INTENT||a100|1|'@SUM(A1)||", "4|RECLAIM_INTENT|serving/chat|h100|8|'@SUM(A1)||",
		"5|RECLAIM_DONE||a100|1|||", "5|RECLAIM_DONE|serving/chat|h100|8|||",
		"6|CORRECTION|||||'-7 units|2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoCellIsAFormula(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a=1": "a=1", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\ta": "'\ta", "\ra": "'\ra", "'=1": "'=1",
	} {
		if got := Cell(text); got != want {
			t.Errorf("Cell(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestExportsOfNothing(t *testing.T) {
	if got := string(write(t, "csv", nil)); got != strings.Join(sheetColumns, ",")+"\n" {
		t.Errorf("csv of nothing is %q", got)
	}
	data := write(t, "parquet", nil)
	if rows, err := parquet.Read[Entry](bytes.NewReader(data), int64(len(data))); err != nil || len(rows) != 0 {
		t.Errorf("parquet of nothing has %d rows: %v", len(rows), err)
	}
	if _, err := New(io.Discard, "xml"); err == nil || err.Error() != `--format: "xml" is not one of jsonl, csv, parquet` {
		t.Errorf("unknown format: %v", err)
	}
}

// counting counts what is written.
type counting struct{ n, most int }

func (c *counting) Write(b []byte) (int, error) {
	c.n += len(b)
	return len(b), nil
}

// However long the history, what is not yet written is bounded.
func TestNothingIsHeldBackForLong(t *testing.T) {
	for _, format := range Formats() {
		out := &counting{}
		w, err := New(out, format)
		if err != nil {
			t.Fatal(err)
		}
		before, stuck := 0, 0
		for i := range 5 * groupRows {
			entry := fmt.Sprintf(`{"seq":%d,"time":"2026-03-01T12:00:00Z","kind":"EPOCH_START","opID":"%x"}`, i+1, uint64(i)*0x9e3779b97f4a7c15)
			if err := w.Write(json.RawMessage(entry)); err != nil {
				t.Fatal(err)
			}
			if stuck++; out.n > before {
				before, stuck = out.n, 0
			}
			out.most = max(out.most, stuck)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if out.most > groupRows {
			t.Errorf("%s held %d entries back", format, out.most)
		}
	}
}

func TestAFileIsThereWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.csv")
	broken := errors.New("the broker went away")
	for _, step := range []struct {
		text string
		err  error
		want string
	}{{"one", nil, "one"}, {"two", broken, "one"}, {"three", nil, "three"}} {
		err := File(path, func(w io.Writer) error {
			if _, err := io.WriteString(w, step.text); err != nil {
				t.Fatal(err)
			}
			return step.err
		})
		if !errors.Is(err, step.err) {
			t.Errorf("%s: %v", step.text, err)
		}
		data, err := os.ReadFile(path)
		names, errDir := os.ReadDir(dir)
		if err != nil || errDir != nil || string(data) != step.want || len(names) != 1 {
			t.Errorf("after %s the file is %q, and the folder has %v (%v %v)", step.text, data, names, err, errDir)
		}
	}
	if err := File(filepath.Join(dir, "no", "file"), nil); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

// What cannot be written is found out before there is anything to write, and what can be is
// left alone.
func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there.html")
	if err := os.WriteFile(there, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		path string
		good bool
	}{
		"a new file":   {filepath.Join(dir, "new.html"), true},
		"one that is":  {there, true},
		"a folder":     {dir, false},
		"in no folder": {filepath.Join(dir, "nowhere", "new.html"), false},
		"below a file": {filepath.Join(there, "new.html"), false},
		"a device":     {os.DevNull, false},
	} {
		err := CheckFile(tc.path)
		if (err == nil) != tc.good || err != nil && !strings.Contains(err.Error(), tc.path) {
			t.Errorf("%s: %v", name, err)
		}
		if err := File(tc.path, func(io.Writer) error { return errors.New("stop") }); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	left, err := os.ReadDir(dir)
	if text, _ := os.ReadFile(there); err != nil || len(left) != 1 || string(text) != "old" {
		t.Errorf("left behind: %v, %q, %v", left, text, err)
	}
}
