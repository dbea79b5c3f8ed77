package quota

// FairRule is a condition under which a tenant that borrows, or wants to, may take
// units from another that borrows. Both are those of Kueue's fair sharing.
type FairRule string

const (
	// LessThanOrEqualToFinalShare: with the request, the share of who asks is not above
	// what is left to who gives.
	LessThanOrEqualToFinalShare FairRule = "LessThanOrEqualToFinalShare"
	// LessThanInitialShare: with the request, the share of who asks is below that of
	// who gives before it gives.
	LessThanInitialShare FairRule = "LessThanInitialShare"
)
