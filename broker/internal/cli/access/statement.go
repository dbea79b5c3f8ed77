package access

import (
	"context"
	"net/url"

	"github.com/ebbtide/ebbtide/broker/ledger/statement"
)

// Statement is a tenant's of a month (2026-11). The tenant is always named: empty are
// lenders whose tenant the ledger was not told.
func (b *Broker) Statement(ctx context.Context, tenant, month string) (statement.Statement, error) {
	var answer statement.Statement
	err := b.get(ctx, "/ledger/statement", url.Values{"tenant": {tenant}, "month": {month}}, &answer)
	return answer, err
}
