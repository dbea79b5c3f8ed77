// Package replay decides again on recorded decisions, and compares.
//
// It promises that a plan counts as the recorded one only if it is so to the byte, white space
// aside, as it stands in the file; and that a record which has a field that this program does
// not know is an error rather than a difference, since without it the decision would be
// another one.
package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// Outcome is what became of one record.
type Outcome struct {
	// Now is the moment of the decision, and Actions and Verdicts how many there were.
	Now               time.Time
	Actions, Verdicts int
	// Plan as it was decided again.
	Plan json.RawMessage
	// Difference is empty if that is the recorded one; otherwise recorded lines begin with -,
	// and those decided again with +.
	Difference string
}

// One replays a single record.
func One(data []byte) (Outcome, error) {
	record, err := lend.ReadRecord(data)
	if err != nil {
		return Outcome{}, err
	}
	var recorded struct {
		Plan json.RawMessage `json:"plan"`
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		return Outcome{}, fmt.Errorf("read the recorded plan: %w", err)
	}
	again, err := json.Marshal(record.Replay())
	if err != nil {
		return Outcome{}, fmt.Errorf("write the plan: %w", err)
	}
	o := Outcome{
		Now: record.Snapshot.Now, Actions: len(record.Plan.Actions), Verdicts: len(record.Plan.Verdicts), Plan: again,
	}
	if want, got := Indent(recorded.Plan), Indent(again); want != got {
		o.Difference = cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n"))
	}
	return o, nil
}

// Each replays the records of a stream, of which there must be one at least, and hands each
// outcome on with its number, from 1.
func Each(from io.Reader, use func(number int, o Outcome) error) error {
	records := json.NewDecoder(from)
	for number := 1; ; number++ {
		var raw json.RawMessage
		err := records.Decode(&raw)
		switch {
		case errors.Is(err, io.EOF) && number > 1:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("there is no record in it")
		case err != nil:
			return fmt.Errorf("read record %d: %w", number, err)
		}
		o, err := One(raw)
		if err != nil {
			return fmt.Errorf("record %d: %w", number, err)
		}
		if err := use(number, o); err != nil {
			return err
		}
	}
}

// Indent keeps every byte but white space, so that a record may be pretty.
func Indent(raw []byte) string {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return string(raw)
	}
	return b.String()
}
