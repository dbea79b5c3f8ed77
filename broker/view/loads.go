package view

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// LoadLine is the load of one lender over time: the highest in each step, as a share of what
// the slots of all units that it owns now could serve, as its water marks are.
type LoadLine struct {
	Lender    string  `json:"lender"`
	Tenant    string  `json:"tenant"`
	Flavor    string  `json:"flavor"`
	Owned     int64   `json:"owned"`
	LowWater  float64 `json:"lowWater"`
	HighWater float64 `json:"highWater"`

	From        time.Time `json:"from"`
	StepSeconds float64   `json:"stepSeconds"`
	Utilization Values    `json:"utilization"`
	// Source is where it was read: Memory or Prometheus.
	Source string `json:"source,omitempty"`
	// Note says what is not known of it, and why.
	Note string `json:"note,omitempty"`
}

// Values are numbers of which some are not known. As JSON those are null; among the numbers
// they are no numbers.
type Values []float64

// MarshalJSON writes four places.
func (v Values) MarshalJSON() ([]byte, error) {
	list := make([]*float64, len(v))
	for i, x := range v {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			rounded := math.Round(x*1e4) / 1e4
			list[i] = &rounded
		}
	}
	return json.Marshal(list)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Values) UnmarshalJSON(data []byte) error {
	var list []*float64
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("read values: %w", err)
	}
	*v = make(Values, len(list))
	for i, x := range list {
		if (*v)[i] = math.NaN(); x != nil {
			(*v)[i] = *x
		}
	}
	return nil
}
