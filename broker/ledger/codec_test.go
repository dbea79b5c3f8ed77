package ledger

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite golden files")

// samples are one entry with every field set, and one with the fewest.
func samples() []Entry {
	full := lent(Recovered, 7)
	full.Seq, full.At, full.ReclaimID, full.Corrects = 42, t0, "r-1", 3
	full.Signals = []Value{{"inf", math.Inf(1)}, {"load", 0.2}, {"nan", math.NaN()}}
	full.Grants, _ = normaliseGrants(full.Grants)
	for i := range full.PrevHash {
		full.PrevHash[i] = byte(i)
	}
	all := []Entry{full, {Seq: 1, Kind: EpochStart, OpID: "a", Time: t0}}
	for kind, payload := range map[Kind]string{
		Gap:           `{"from":101,"to":150,"why":"the file is an old copy"}`,
		Checkpoint:    `{"seq":42,"hash":"` + Hash{7}.String() + `"}`,
		SegmentStart:  `{"month":"2026-12","open":1,"accounts":0}`,
		Carried:       `{"account":{"account":"quarantine","flavor":"h100","unitMS":-5}}`,
		Quarantined:   "",
		Unquarantined: "",
		PolicyMissing: `{"policy":"ebbtide-loans"}`,
		PolicyBack:    "",
	} {
		e := Entry{Seq: uint64(kind), Kind: kind, OpID: "op", Time: t0, Epoch: 2, Payload: []byte(payload)}
		if payload == "" {
			e.Payload = nil
		}
		if kind.moves() {
			e.Loan, e.Job, e.JobUID, e.Borrower, e.Grants = full.Loan, full.Job, full.JobUID, full.Borrower, full.Grants
		}
		all = append(all, e)
	}
	slices.SortFunc(all[2:], func(a, b Entry) int { return int(a.Kind) - int(b.Kind) })
	return all
}

func TestCanonicalBytesArePinned(t *testing.T) {
	var b strings.Builder
	for _, e := range samples() {
		raw, hash := encode(&e)
		fmt.Fprintf(&b, "%s\n%ssha256 %s\n\n", e.Kind, hex.Dump(raw), hash)
	}
	const path = "testdata/record_v1.golden"
	if *update {
		writeFile(t, path, []byte(b.String()))
	}
	if diff := cmp.Diff(string(readFile(t, path)), b.String()); diff != "" {
		t.Errorf("the stored form of version 1 changed; it never may (-want +got):\n%s", diff)
	}
}

// The smallest record, put together by hand from the description of the layout.
func TestCanonicalBytesByHand(t *testing.T) {
	e := Entry{Seq: 1, Kind: EpochStart, OpID: "a", Time: time.Unix(0, 0x0102030405060708), Epoch: 9}
	want := "01" + "01" + "0000000000000001" + "0000000000000009" + "0102030405060708" + // version, kind, seq, epoch, time
		"0000000000000000" + "0000000000000000" + // at, mono
		"00000000" + "0000000161" + strings.Repeat("00000000", 7) + // boot, op, seven more texts
		"0000000000000000" + "00000000" + "00000000" + "00000000" + // corrects, grants, signals, payload
		strings.Repeat("00", 32) // previous hash
	raw, hash := encode(&e)
	if got := hex.EncodeToString(raw[:len(raw)-4]); got != want {
		t.Errorf("canonical bytes\n got %s\nwant %s", got, want)
	}
	// The sum is that of sha256sum.
	if got, want := hash.String(), "4d9c62f125ea03a0a24311d6b616fb53e1ceb2b3ea215c7a9d504d37e2bf0a64"; got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
}

func drawEntry(t *rapid.T) Entry {
	name := rapid.StringMatching(`[a-z/\-é]{0,12}`)
	e := Entry{
		Seq: rapid.Uint64().Draw(t, "seq"), Kind: rapid.SampledFrom(Kinds()).Draw(t, "kind"),
		Epoch: rapid.Int64Min(0).Draw(t, "epoch"), MonoNS: rapid.Int64Min(0).Draw(t, "mono"),
		Time:   time.Unix(0, rapid.Int64Min(1).Draw(t, "time")).UTC(),
		BootID: name.Draw(t, "boot"), OpID: name.Draw(t, "op"), Loan: name.Draw(t, "loan"), Job: name.Draw(t, "job"),
		JobUID: name.Draw(t, "uid"), Borrower: name.Draw(t, "borrower"), ReclaimID: name.Draw(t, "reclaim"),
		Reason: name.Draw(t, "reason"), Message: rapid.String().Draw(t, "message"), Corrects: rapid.Uint64().Draw(t, "corrects"),
	}
	if rapid.Bool().Draw(t, "has at") {
		e.At = time.Unix(0, rapid.Int64Min(1).Draw(t, "at")).UTC()
	}
	for range rapid.IntRange(0, 4).Draw(t, "grants") {
		e.Grants = append(e.Grants, Grant{
			Lender: name.Draw(t, "lender"), Node: "n" + name.Draw(t, "node"), Flavor: "f",
			Count: rapid.Int64Range(1, MaxCount).Draw(t, "count"),
		})
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "signals") {
		e.Signals = append(e.Signals, Value{fmt.Sprintf("s%d", 9-i), rapid.OneOf(
			rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1)})).Draw(t, "value")})
	}
	if rapid.Bool().Draw(t, "has payload") {
		e.Payload = json.RawMessage(`{"a<b>":  [1, "&\u2028"]}`)
	}
	e.Grants, _ = normaliseGrants(e.Grants)
	e.Signals, _ = normaliseSignals(e.Signals)
	e.Payload, _ = normalisePayload(e.Payload)
	copy(e.PrevHash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "prev"))
	return e
}

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		raw, hash := encode(&e)
		e.Hash = hash
		got, err := decode(raw)
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		if diff := cmp.Diff(e, got, cmpopts.EquateNaNs()); diff != "" {
			t.Fatalf("decoded entry differs (-want +got):\n%s", diff)
		}
		var line bytes.Buffer
		enc := json.NewEncoder(&line)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e); err != nil {
			t.Fatalf("write JSON: %v", err)
		}
		var back Entry
		if err := json.Unmarshal(line.Bytes(), &back); err != nil {
			t.Fatalf("read JSON %s: %v", line.Bytes(), err)
		}
		if _, again := encode(&back); again != hash || back.Hash != hash {
			t.Fatalf("hash changed by way of JSON %s", line.Bytes())
		}
	})
}

// Whatever decodes is what its entry encodes to: no two records mean the same.
func FuzzDecode(f *testing.F) {
	for _, e := range samples() {
		raw, _ := encode(&e)
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
		f.Add(appendCRC(bytes.Clone(raw[:len(raw)-12])))
		long := bytes.Clone(raw[:len(raw)-4])
		copy(long[42:], []byte{0xff, 0xff, 0xff, 0xff}) // length of the first text
		f.Add(appendCRC(long))
	}
	f.Add([]byte{})
	for _, file := range fixtures {
		for _, raw := range rawRecords(f, unpack(f, file.file)) {
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		// The checksum would hide the parser from the fuzzer.
		for _, b := range [][]byte{raw, appendCRC(bytes.Clone(raw))} {
			e, err := decode(b)
			if err != nil {
				continue
			}
			if again, _ := encode(&e); !bytes.Equal(again, b) {
				t.Fatalf("decoded %x, which encodes to %x", b, again)
			}
		}
	})
}

// rawRecords are up to 40 records of a file, as they are stored.
func rawRecords(t testing.TB, path string) (out [][]byte) {
	editBolt(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket(bucketLog).ForEach(func(_, raw []byte) error {
			if len(out) < 40 && len(raw) < 4096 {
				out = append(out, bytes.Clone(raw))
			}
			return nil
		})
	})
	return out
}

func TestDecodeSaysWhatIsWrong(t *testing.T) {
	raw, _ := encode(&samples()[0])
	body := raw[:len(raw)-4]
	edit := func(at int, b ...byte) []byte {
		out := bytes.Clone(body)
		copy(out[at:], b)
		return appendCRC(out)
	}
	for name, tc := range map[string]struct {
		raw  []byte
		want string
	}{
		"empty":         {nil, "ends early"},
		"checksum":      {append(bytes.Clone(body), 1, 2, 3, 4), "checksum does not match"},
		"cut":           {appendCRC(bytes.Clone(body[:100])), "ends early"},
		"only checksum": {appendCRC(nil), "ends early"},
		"trailing":      {appendCRC(append(bytes.Clone(body), 0)), "bytes after its end"},
		"huge text":     {edit(42, 0xff, 0xff, 0xff, 0xff), "ends early"},
		"newer version": {edit(0, 2), "record version 2, this release reads 1"},
		"newer kind":    {edit(1, 200), "record kind 200 is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(tc.raw)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want %q", err, tc.want)
			}
		})
	}
}
