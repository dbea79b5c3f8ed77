// Package doctor looks for what keeps Ebbtide from working in a cluster, and says how to mend
// it.
//
// It promises that every check says what it found, and that one which is not ok says what to
// do; that what could not be looked at is Unknown, never OK; and that it changes nothing and
// works without a broker. What must be there is what this program was shipped with: the
// digests and rights in shipped.json, which a test compares with the manifests.
//
// It cannot see what only happens later: an API server whose admission plugins are switched
// off, or a metric that stops tomorrow.
package doctor
