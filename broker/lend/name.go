package lend

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
)

// attempt is the number of the admission that would be made now, from 1.
func attempt(j *Job) int32 { return min(max(j.Attempt, 0), math.MaxInt32-1) + 1 }

// loanName is the namespace/name of the job's next loan. The digest is of the
// job's UID and attempt, so that the same admission has the same name whoever
// makes it, and no other one does.
func loanName(j *Job) string {
	namespace, name, found := strings.Cut(j.Name, "/")
	if !found {
		namespace, name = "", j.Name
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", j.UID, attempt(j)))
	digest := hex.EncodeToString(sum[:4])
	label := strings.Map(labelRune, strings.ToLower(name))
	label = strings.Trim(label[:min(len(label), 63-1-len(digest))], "-")
	if label == "" {
		label = "job"
	}
	if namespace == "" {
		return label + "-" + digest
	}
	return namespace + "/" + label + "-" + digest
}

// labelRune maps what a DNS label cannot hold to '-'.
func labelRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}
