package access

import (
	"context"
	"net/url"
	"time"

	"github.com/ebbtide/ebbtide/broker/view"
)

// Timeline is the loans and the load over a time.
type Timeline struct {
	From  time.Time       `json:"from"`
	To    time.Time       `json:"to"`
	Head  Head            `json:"head"`
	Spans []view.LoanSpan `json:"spans"`
	// Omitted is how many spans are left out, the ones that began first.
	Omitted int             `json:"omitted,omitempty"`
	Loads   []view.LoadLine `json:"loads"`
	Notes   []string        `json:"notes,omitempty"`
}

// Timeline asks for a time, by the names of the broker's parameters.
func (b *Broker) Timeline(ctx context.Context, query url.Values) (Timeline, error) {
	var answer Timeline
	err := b.get(ctx, "/timeline", query, &answer)
	return answer, err
}

// Gained is what was lent since a time.
type Gained struct {
	Since               time.Time `json:"since"`
	LentGPUHours        float64   `json:"lentGPUHours"`
	Loans               int64     `json:"loans"`
	Reclaims            int64     `json:"reclaims"`
	Evictions           int64     `json:"evictions"`
	Late                int64     `json:"late"`
	SlowestReturnSecond float64   `json:"slowestReturnSeconds"`
}

// Gained asks what was lent today.
func (b *Broker) Gained(ctx context.Context) (Gained, error) {
	var answer Gained
	err := b.get(ctx, "/gained", nil, &answer)
	return answer, err
}
