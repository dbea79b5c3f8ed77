package v1alpha1

import "time"

const (
	// GroupVersion may stand in the arguments as apiVersion. It is optional.
	GroupVersion = "ebbtide.dev/v1alpha1"
	// Kind may stand in the arguments as kind. It is optional.
	Kind = "EbbtideArgs"
)

// Defaults of EbbtideArgs.
const (
	// DefaultTakeBackAfter gives a running broker time to choose the victims with
	// all lenders in view.
	DefaultTakeBackAfter = time.Second
	// DefaultGangTimeout is long enough for a Job controller to create a large
	// gang's pods, and short enough not to hold units for a gang that cannot form.
	DefaultGangTimeout = 30 * time.Second
	// DefaultMaxGrace is the default of a LendingPolicy's spec.reclaim.maxGrace.
	DefaultMaxGrace = time.Minute
	// DefaultRestartCost is the default of the broker's policy.restartCost.
	DefaultRestartCost = time.Minute
)

// EbbtideArgs are the plugin's settings.
type EbbtideArgs struct {
	// TakeBackAfter is how long an online pod that lacks units waits for the
	// broker before the plugin takes loans back by itself. The time until the pod
	// has its units is bounded by TakeBackAfter plus the grace of the loans taken
	// back: the shortest of the pods' own, the lenders' and MaxGrace.
	// From 0s to 1m; 1s by default.
	TakeBackAfter time.Duration
	// GangTimeout is how long the first placed pod of a gang waits for the rest
	// before all of them give their places up. From 1s to 10m; 30s by default.
	GangTimeout time.Duration
	// MaxGrace is the longest that the plugin lets a pod take to stop, whatever the
	// lenders of its loan allow. A loan is taken back for whichever online pod
	// waits, so the lenders' bound alone need not be one that its service accepts.
	// A pod that takes longer to terminate does not count as coming free.
	// From 1s to 1h; 60s by default.
	MaxGrace time.Duration
	// RestartCost is added to the lost work of every job that is stopped, for each of its
	// units: what it takes to start again. It is to be the broker's policy.restartCost, so
	// that both choose alike. From 0s to 24h; 1m by default.
	RestartCost time.Duration
}
