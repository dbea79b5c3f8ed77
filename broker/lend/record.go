package lend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Record is a decision with everything it depended on: enough to reproduce it.
type Record struct {
	Snapshot Snapshot `json:"snapshot"`
	State    State    `json:"state"` // before the decision
	Policy   Policy   `json:"policy"`
	Plan     Plan     `json:"plan"`
}

// Replay decides again on what was recorded. It equals the recorded Plan unless
// the program has changed since.
func (r Record) Replay() Plan {
	plan, _ := Decide(r.Snapshot, r.State, r.Policy)
	return plan
}

// MarshalRecord writes a record as JSON. Equal records give equal bytes. It fails
// for numbers that JSON cannot hold; use Snapshot values that passed Decide's
// finite check, or drop the load.
func MarshalRecord(r Record) ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write decision record: %w", err)
	}
	return data, nil
}

// ReadRecord reads what MarshalRecord wrote. A field it does not know is an error,
// since a replay without it would not be the same decision.
func ReadRecord(data []byte) (Record, error) {
	var r Record
	if err := strict(data, &r); err != nil {
		return Record{}, fmt.Errorf("read decision record: %w", err)
	}
	return r, nil
}

func strict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("there is more after the record")
	}
	return nil
}
