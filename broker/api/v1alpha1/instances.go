package v1alpha1

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// InstanceRef names one MIG instance for good: the place on the GPU, and which of those
// that were made there it is.
type InstanceRef struct {
	GPU string
	// Profile is the driver's name of the profile, such as 1g.5gb.
	Profile    string
	Start      int32
	Generation int64
}

// String is GPU/PROFILE@START#GENERATION.
func (r InstanceRef) String() string {
	return fmt.Sprintf("%s/%s@%d#%d", r.GPU, r.Profile, r.Start, r.Generation)
}

var instanceRef = regexp.MustCompile(`^([^/,@#\s]+)/([^/,@#\s]+)@([0-9]{1,2})#([0-9]{1,18})$`)

// FormatInstances writes the value of AnnotationInstances.
func FormatInstances(refs []InstanceRef) string {
	texts := make([]string, len(refs))
	for i, r := range refs {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}

// ParseInstances reads the value of AnnotationInstances. The empty text names none.
func ParseInstances(text string) ([]InstanceRef, error) {
	if text == "" {
		return nil, nil
	}
	var refs []InstanceRef
	for _, part := range strings.Split(text, ",") {
		m := instanceRef.FindStringSubmatch(part)
		if m == nil {
			return nil, fmt.Errorf("%q is not GPU/PROFILE@START#GENERATION", part)
		}
		start, _ := strconv.ParseInt(m[3], 10, 32)      // two digits
		generation, _ := strconv.ParseInt(m[4], 10, 64) // eighteen
		refs = append(refs, InstanceRef{GPU: m[1], Profile: m[2], Start: int32(start), Generation: generation})
	}
	return refs, nil
}
