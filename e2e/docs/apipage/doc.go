// Package apipage writes the reference page of the API from its definitions.
//
// It promises a row for every field of every kind, with its type, its default, what it must
// be and what its Go comment says of it, in the order of the alphabet, and the same bytes for
// the same definitions. It refuses to say anything that the definitions do not: what a field
// is for stands with the field, in broker/api.
package apipage
