package v1alpha1

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of the arguments.
const (
	maxTakeBackAfter = time.Minute
	minGangTimeout   = time.Second
	// The framework lets no pod wait in Permit for more than 15 minutes.
	maxGangTimeout = 10 * time.Minute
	minMaxGrace    = time.Second
	maxMaxGrace    = time.Hour
	maxRestartCost = 24 * time.Hour
)

// Validate reports every argument that is outside its bounds, by field path.
func Validate(args *EbbtideArgs) field.ErrorList {
	return slices.Concat(
		between(field.NewPath("takeBackAfter"), args.TakeBackAfter, 0, maxTakeBackAfter),
		between(field.NewPath("gangTimeout"), args.GangTimeout, minGangTimeout, maxGangTimeout),
		between(field.NewPath("maxGrace"), args.MaxGrace, minMaxGrace, maxMaxGrace),
		between(field.NewPath("restartCost"), args.RestartCost, 0, maxRestartCost),
	)
}

func between(path *field.Path, got, low, high time.Duration) field.ErrorList {
	if got >= low && got <= high {
		return nil
	}
	return field.ErrorList{field.Invalid(path, got.String(), fmt.Sprintf("must be between %s and %s", low, high))}
}
