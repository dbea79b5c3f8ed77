package install

import "github.com/ebbtide/ebbtide/e2e/witness/auditlog"

// Count is how many manifests an API server accepted, and how many it did not.
type Count struct {
	Applied  int `json:"manifestsApplied"`
	Rejected int `json:"rejected"`
}

// Add counts what another has counted.
func (c *Count) Add(other Count) {
	c.Applied += other.Applied
	c.Rejected += other.Rejected
}

// Tally counts what somebody asked for, as the API server's own audit log has it: each time
// that an object was to be created or changed. What was not accepted it returns besides. Not
// counted are Secrets, in which helm keeps its releases; Ebbtide installs none.
func Tally(writes []auditlog.Write) (count Count, refused []auditlog.Write) {
	for _, write := range writes {
		if !applies(&write) {
			continue
		}
		if write.Outcome() == auditlog.Done {
			count.Applied++
			continue
		}
		count.Rejected++
		refused = append(refused, write)
	}
	return count, refused
}

func applies(w *auditlog.Write) bool {
	if w.Resource == "secrets" && w.Group == "" || w.Subresource != "" {
		return false
	}
	return w.Verb == "create" || w.Verb == "update" || w.Verb == "patch"
}
