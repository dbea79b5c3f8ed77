// Package witness watches a cluster and its ledger from outside, and judges the laws after
// every change. It was written apart from what it judges: it knows the API's types and the
// pages that describe the ledger, and shares no code with the broker, its core or its ledger.
// (Package audit, which judges other laws, links the core, and so is not used here.)
package witness
