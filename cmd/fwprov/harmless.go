package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"fwprov/provision"
)

// harmless escapes in JSON what a terminal would obey, or what would show text in
// another order than it has: the encoder leaves all above 0x1f alone. Such
// characters stand in strings only, where an escape means the same.
func harmless(doc []byte) []byte {
	text := string(doc)
	if provision.Printable(text) == text {
		return doc
	}
	var b strings.Builder
	for i, r := range text {
		switch c := string(r); {
		case r == utf8.RuneError, provision.Printable(c) == c:
			_, size := utf8.DecodeRuneInString(text[i:])
			b.WriteString(text[i : i+size])
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return []byte(b.String())
}
