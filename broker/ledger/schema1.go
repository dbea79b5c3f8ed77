package ledger

// Files of schema 1 are still checked and indexed anew as they are, until they are
// migrated: their indexes have a row for each entry, none for the tenants of lenders, and
// no months.

var derivedBuckets1 = [][]byte{bucketOp, bucketLoan, bucketTenant, bucketOpen, bucketAcct}

// derivedOf are the derived buckets of a schema.
func derivedOf(schema uint32) [][]byte {
	if schema == 1 {
		return derivedBuckets1
	}
	return derivedBuckets
}

// indexRows1 are what one entry adds to the indexes of schema 1; after is its loan's state.
func indexRows1(e *Entry, after LoanState) []row {
	seq := seqKey(e.Seq)
	rows := []row{{bucketOp, append(prefixKey(e.OpID), byte(e.Kind)), seq}}
	if e.Loan != "" {
		rows = append(rows, row{bucketLoan, append(prefixKey(e.Loan), seq...), []byte{byte(after)}})
	}
	if e.Borrower != "" {
		rows = append(rows, row{bucketTenant, append(prefixKey(e.Borrower), seq...), []byte{1}})
	}
	return rows
}
