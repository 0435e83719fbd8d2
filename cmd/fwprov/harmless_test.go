package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fwprov/provision"
)

// JSON means the same after it was made harmless, and has nothing in it that a
// terminal would obey.
func TestHarmlessJSON(t *testing.T) {
	for _, in := range []string{"plain", "é馬 \ufffd", "\x1b[31m\a\x00", "\u009b31m\x7f", "\u202edoc\u2066\u2028", "a\tb\nc\"\\", "\u0085"} {
		var b bytes.Buffer
		if err := writeJSON(&b, map[string]string{"x": in}); err != nil {
			t.Fatal(err)
		}
		var out map[string]string
		if err := json.Unmarshal(b.Bytes(), &out); err != nil || out["x"] != in {
			t.Errorf("%q became %q, %v", in, out["x"], err)
		}
		if line := strings.TrimSuffix(b.String(), "\n"); provision.Printable(line) != line || strings.ContainsAny(line, "\n\t") {
			t.Errorf("not harmless: %q", line)
		}
	}
}

// An error may quote a server that nobody has checked yet.
func TestErrorsAreHarmless(t *testing.T) {
	var b bytes.Buffer
	printError(&b, style{}, errors.Join(fmt.Errorf("ssh: disconnect: \x1b]0;owned\a"), fmt.Errorf("two\nlines\r\u202e")))
	if got, want := b.String(), "error: ssh: disconnect: \ufffd]0;owned\ufffd\nerror: two\n  lines\ufffd\ufffd\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
