package remote

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzOutput holds that whatever a command prints, in whatever pieces it comes,
// its lines are told once each, it is kept within its bounds, and sudo is not
// heard in the words of a script.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("one\ntwo"), []byte("sudo: a password is required\n"), uint8(3), uint8(1))
	f.Add([]byte("\n\n"), []byte("Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt\n"), uint8(1), uint8(1))
	f.Add([]byte(""), bytes.Repeat([]byte("x"), 3*half), uint8(200), uint8(0))
	f.Add([]byte(""), []byte("sudo: ops is not in the sudoers file\n"), uint8(0), uint8(1))
	f.Fuzz(func(t *testing.T, out, errs []byte, size, code uint8) {
		var told []string
		w := lineWriter{onLine: func(l string) { told = append(told, l) }, max: 1 << 10}
		pieces(out, size, func(p []byte) {
			before := w.all.Len()
			if _, err := w.Write(p); (err == nil) != (before+len(p) <= w.max) {
				t.Errorf("%d bytes after %d: %v", len(p), before, err)
			}
		})
		w.flush()
		kept := w.all.String()
		if got := strings.Join(told, "\n"); got != strings.TrimSuffix(kept, "\n") || len(kept) > w.max || len(out) <= w.max && kept != string(out) {
			t.Errorf("of %q was told %q", kept, told)
		}

		var h headTail
		pieces(errs, size, func(p []byte) {
			if n, err := h.Write(p); n != len(p) || err != nil {
				t.Errorf("wrote %d of %d: %v", n, len(p), err)
			}
		})
		got := h.bytes()
		if len(errs) <= 2*half && !bytes.Equal(got, errs) {
			t.Errorf("%d bytes became %d", len(errs), len(got))
		}
		if len(got) > 2*half+64 || !bytes.HasPrefix(errs, got[:min(half, len(errs))]) || !bytes.HasSuffix(errs, got[len(got)-min(half, len(errs)):]) {
			t.Errorf("of %d bytes %d are left", len(errs), len(got))
		}

		res := Result{Stdout: out, Stderr: errs, Code: int(code)}
		if ran := len(out) > 0 || code == 0; ran && (sudoError(res) != nil || wantsPassword(res) || refusesPassword(res)) {
			t.Errorf("sudo was heard in %q", errs)
		}
	})
}

// pieces cuts b into parts of one size; 0 is all at once.
func pieces(b []byte, size uint8, do func([]byte)) {
	n := int(size)
	if n == 0 {
		n = max(len(b), 1)
	}
	for len(b) > 0 {
		p := b[:min(n, len(b))]
		b = b[len(p):]
		do(p)
	}
}
