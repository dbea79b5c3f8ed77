package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/broker/lend"
)

func made(t *testing.T) string {
	t.Helper()
	r := lend.Record{Snapshot: lend.Snapshot{
		Now:  time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Jobs: []lend.Job{{Name: "research/bert", UID: "u-1", Queue: "research/default", Pods: 1, UnitsPerPod: 8}},
	}}
	r.Plan = r.Replay()
	data, err := lend.MarshalRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestOne(t *testing.T) {
	same := made(t)
	o, err := One([]byte(Indent([]byte(same))))
	if err != nil || o.Difference != "" || o.Verdicts == 0 {
		t.Errorf("the same, pretty: %+v, %v", o, err)
	}
	at := strings.LastIndex(same, `"reason"`)
	if o, err := One([]byte(same[:at] + `"reason":"Other","message":"x"}]}}`)); err != nil || !strings.Contains(o.Difference, "Other") {
		t.Errorf("with another reason: %q, %v", o.Difference, err)
	}
}

func TestEach(t *testing.T) {
	same := made(t)
	var numbers []int
	err := Each(strings.NewReader(same+"\n"+Indent([]byte(same))+same), func(n int, _ Outcome) error {
		numbers = append(numbers, n)
		return nil
	})
	if err != nil || len(numbers) != 3 || numbers[2] != 3 {
		t.Errorf("replayed %v, %v", numbers, err)
	}
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "plan", "half": same[:100], "a field of later": strings.Replace(same, `"policy":{`, `"policy":{"moon":1,`, 1),
		"another after": same + `{"snapshot"`,
	} {
		if err := Each(strings.NewReader(text), func(int, Outcome) error { return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
