package provision

import (
	"strings"
	"testing"
	"unicode"
)

// FuzzWords holds that whatever a node says of a lock, of going back and of facts
// makes one harmless text.
func FuzzWords(f *testing.F) {
	f.Add("alice from admin1|2026-11-23T01:02:03Z|run|", "pending run\nrun\nok\n", strings.Repeat("a", 64)+" 0600 0:0")
	f.Add("|", "run\n/etc/x steps/01-y\n", "\x1b[2J\u202e\x00\xff")
	r := &Runner{Redact: func(s string) string { return strings.ReplaceAll(s, heardSecret, "(sensitive)") }}
	f.Fuzz(func(t *testing.T, holder, back, fact string) {
		holder = strings.ReplaceAll(holder, "\n", "|") // a line of output
		failed := fateOf("run", back).failed
		gone := Facts{}
		parseLost(back, gone)
		detail, _ := tellLost("fw01", gone)
		if strings.Contains(detail, "\n") || (detail == "") != (len(gone) == 0) {
			t.Errorf("lost %q is told as %q", gone[lost], detail)
		}
		failed = append(failed, r.clean(detail))
		who, _ := describeHolder(holder)
		texts := append([]string{who, r.clean(differs("k", fact, back)), r.clean(fact), firstLines([]byte(fact))}, failed...)
		for _, text := range texts {
			if strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
				t.Errorf("not harmless: %q", text)
			}
		}
		if strings.Contains(who, "\n") || who == "" {
			t.Errorf("holder %q", who)
		}
	})
}

// FuzzDiff holds that a plan shows no secret and no control character of a file
// that it replaces, whatever is in it.
func FuzzDiff(f *testing.F) {
	f.Add("pass old"+heardSecret+"\n", true)
	f.Add("a\r\nb\x1b[31m\r\n\xff\xfe", false)
	f.Add(strings.Repeat("same\n", 40)+"pass\n"+strings.Repeat("same\n", 40), true)
	r := &Runner{Redact: func(s string) string { return strings.ReplaceAll(s, heardSecret, "(sensitive)") }}
	f.Fuzz(func(t *testing.T, before string, masked bool) {
		w := secretFile()
		if !masked {
			w.Mask = nil
		}
		facts := Facts{Key("file", w.Path): FileState(Hash([]byte(before)), 0o600, "0:0"), old(w.Path): before}
		n := &NodePlan{Changes: PlanFiles(facts, "web", w)}
		if len(n.Changes) != 1 {
			t.Fatalf("%d changes", len(n.Changes))
		}
		r.tell(n)
		d := n.Changes[0].Diff
		if strings.Contains(d, heardSecret) || strings.ContainsFunc(d, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
			t.Errorf("shown:\n%q", d)
		}
		if d == "" && before != string(w.Content) {
			t.Error("a file that differs is replaced without a word")
		}
	})
}
