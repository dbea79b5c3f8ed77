package statement

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Price of one flavor's unit.
type Price struct {
	Flavor string
	// PerGPUHour of a unit of the flavor: of a slice where the flavor is one.
	PerGPUHour Micros
	// Currency is three capital letters.
	Currency string
	// LenderShare of the price goes to the lender, in millionths: 0 to 1000000.
	LenderShare Micros
}

// Prices by flavor.
type Prices map[string]Price

// Money is an amount of one currency.
type Money struct {
	Amount   Micros `json:"amount"`
	Currency string `json:"currency"`
}

// mostPerHour bounds a price; with it no month's amount leaves an int64 unnoticed.
const mostPerHour = 1_000_000 * 1_000_000

type rawPrice struct {
	Flavor      string          `json:"flavor"`
	PerGPUHour  json.RawMessage `json:"perGPUHour"`
	Currency    string          `json:"currency"`
	LenderShare json.RawMessage `json:"lenderShare"`
}

// ReadPrices reads a price list as JSON: {"prices": [{flavor, perGPUHour, currency,
// lenderShare}]}. Numbers may be texts. Without lenderShare all goes to the lender. The
// error names the field and the rule.
func ReadPrices(data []byte) (Prices, error) {
	var list struct {
		Prices []rawPrice `json:"prices"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		return nil, fmt.Errorf("prices: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if dec.More() {
		return nil, fmt.Errorf("prices: something follows the list")
	}
	if len(list.Prices) == 0 {
		return nil, fmt.Errorf("prices: at least one is required")
	}
	out := Prices{}
	for i := range list.Prices {
		p, err := list.Prices[i].read()
		if err != nil {
			return nil, fmt.Errorf("prices[%d].%w", i, err)
		}
		if _, twice := out[p.Flavor]; twice {
			return nil, fmt.Errorf("prices[%d].flavor: %q has a price already", i, p.Flavor)
		}
		out[p.Flavor] = p
	}
	return out, nil
}

func (r *rawPrice) read() (Price, error) {
	p := Price{Flavor: r.Flavor, Currency: r.Currency, LenderShare: 1_000_000}
	if p.Flavor == "" {
		return p, fmt.Errorf("flavor: is required")
	}
	if len(r.PerGPUHour) == 0 {
		return p, fmt.Errorf("perGPUHour: is required")
	}
	var err error
	if p.PerGPUHour, err = readNumber(r.PerGPUHour, mostPerHour); err != nil {
		return p, fmt.Errorf("perGPUHour: %w", err)
	}
	if len(p.Currency) != 3 || strings.Trim(p.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return p, fmt.Errorf("currency: %q is not three capital letters, such as EUR", p.Currency)
	}
	if len(r.LenderShare) > 0 {
		if p.LenderShare, err = readNumber(r.LenderShare, 1_000_000); err != nil {
			return p, fmt.Errorf("lenderShare: %w", err)
		}
	}
	return p, nil
}

// readNumber reads a number, or a text that has one, from 0 to most.
func readNumber(raw json.RawMessage, most Micros) (Micros, error) {
	text := string(raw)
	if text[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return 0, err
		}
	}
	n, err := parseMicros(text)
	if err == nil && (n < 0 || n > most) {
		err = fmt.Errorf("%s is outside 0 to %d", text, most/1_000_000)
	}
	return n, err
}

// Price puts money to every row whose flavor has a price: a borrower owes the price of what
// it borrowed, and a lender is owed its share of the price of what it lent.
func (s *Statement) Price(prices Prices) error {
	s.Money, s.Unpriced = nil, nil
	sums := map[string]*big.Int{}
	for i := range s.Rows {
		row := &s.Rows[i]
		p, ok := prices[row.Flavor]
		if !ok {
			if !slices.Contains(s.Unpriced, row.Flavor) {
				s.Unpriced = append(s.Unpriced, row.Flavor)
			}
			continue
		}
		amount := p.of(row)
		if !amount.IsInt64() {
			return fmt.Errorf("price %s of %s: the amount is too large", row.Role, row.Flavor)
		}
		micros := Micros(amount.Int64())
		row.Amount, row.Currency = &micros, p.Currency
		if sums[p.Currency] == nil {
			sums[p.Currency] = new(big.Int)
			s.Money = append(s.Money, Money{Currency: p.Currency})
		}
		sums[p.Currency].Add(sums[p.Currency], amount)
	}
	for i := range s.Money {
		sum := sums[s.Money[i].Currency]
		if !sum.IsInt64() {
			return fmt.Errorf("add up %s: the amount is too large", s.Money[i].Currency)
		}
		s.Money[i].Amount = Micros(sum.Int64())
	}
	return nil
}

// of is what a row costs, or brings, in millionths.
func (p *Price) of(row *Row) *big.Int {
	n := new(big.Int).Mul(big.NewInt(int64(row.Hours())), big.NewInt(int64(p.PerGPUHour)))
	if row.Role == Borrower {
		return divide(n.Neg(n), big.NewInt(msPerHour))
	}
	n.Mul(n, big.NewInt(int64(p.LenderShare)))
	return divide(n, big.NewInt(msPerHour*1_000_000))
}
