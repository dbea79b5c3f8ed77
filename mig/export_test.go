package mig

// Strict reports whether pairs of places do not say all about what a board allows.
func (t *Table) Strict() bool { return t.strict }
