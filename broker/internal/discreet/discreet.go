// Package discreet takes the names of others' services out of texts that people of another
// tenant read.
//
// It promises that of a text in which a name stands as a word, whatever stands around it,
// nothing of the name is left: neither its namespace nor its own part. It refuses to guess:
// a name that nobody calls another's stays.
package discreet

import "strings"

// Other is what stands for a service that may not be named.
const Other = "a service of another tenant"

// Text is the text without the names, which are namespace/name, that are another's. changed
// tells whether there were any.
func Text(text string, others func(name string) bool) (said string, changed bool) {
	if !strings.Contains(text, "/") {
		return text, false
	}
	var b strings.Builder
	for len(text) > 0 {
		n := strings.IndexFunc(text, inName)
		if n < 0 {
			break
		}
		b.WriteString(text[:n])
		text = text[n:]
		if n = strings.IndexFunc(text, func(r rune) bool { return !inName(r) }); n < 0 {
			n = len(text)
		}
		word := text[:n]
		text = text[n:]
		name := strings.TrimRight(word, "./-") // the end of a sentence is no part of a name
		if strings.Contains(name, "/") && others(name) {
			b.WriteString(Other + word[len(name):])
			changed = true
			continue
		}
		b.WriteString(word)
	}
	b.WriteString(text)
	return b.String(), changed
}

// inName tells whether names of namespaces and objects have the character, or what parts them.
func inName(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '/'
}
