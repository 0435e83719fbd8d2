package hcl

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestMistakes holds what is said of every mistake, word for word. The archive has
// an inventory, base.hcl, and for each case an edit of it and the output. In an
// edit "- line" is taken out where it stands next, from the last edit on or
// from the top, "+ line" goes in its place or to the end, and "! name=value" sets a variable.
func TestMistakes(t *testing.T) {
	const file = "testdata/mistakes.txtar"
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	base := string(archive.Files[0].Data)
	if _, out := load(t, []byte(base), Options{}); out != "" {
		t.Fatalf("base.hcl:\n%s", out)
	}
	seen := map[string]bool{}
	for i := 1; i+1 < len(archive.Files); i += 2 {
		name := strings.TrimSuffix(archive.Files[i].Name, "/edit")
		if seen[name] || archive.Files[i+1].Name != name+"/says" {
			t.Fatalf("%s: no pair of edit and says", archive.Files[i].Name)
		}
		seen[name] = true
		edit, says := string(archive.Files[i].Data), &archive.Files[i+1].Data
		t.Run(name, func(t *testing.T) {
			src, opts := edited(t, base, edit)
			pair, source, diags := Parse([]byte(src), "pair.hcl", opts)
			if (pair == nil) != diags.HasErrors() {
				t.Errorf("a pair or an error: %v, %v", pair, diags)
			}
			var b bytes.Buffer
			if err := source.Write(&b, diags, false); err != nil {
				t.Fatal(err)
			}
			if *update {
				*says = b.Bytes()
				return
			}
			if b.Len() == 0 {
				t.Error("nothing is said")
			}
			if diff := cmp.Diff(string(*says), b.String()); diff != "" {
				t.Errorf("(-want +got), -update rewrites it:\n%s", diff)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func edited(t testing.TB, base, edit string) (string, Options) {
	t.Helper()
	opts := Options{Vars: map[string]string{}}
	lines := strings.Split(strings.TrimSuffix(base, "\n"), "\n")
	at := len(lines)
	for _, e := range strings.Split(strings.TrimSuffix(edit, "\n"), "\n") {
		op, text, _ := strings.Cut(e, " ")
		switch op {
		case "-":
			is := func(l string) bool { return strings.TrimSpace(l) == text }
			if i := slices.IndexFunc(lines[at:], is); i >= 0 {
				at += i
			} else if at = slices.IndexFunc(lines, is); at < 0 {
				t.Fatalf("base.hcl has no line %q", text)
			}
			lines = slices.Delete(lines, at, at+1)
		case "+":
			lines = slices.Insert(lines, at, text)
			at++
		case "!":
			name, value, _ := strings.Cut(text, "=")
			opts.Vars[name] = value
		default:
			t.Fatalf("edit %q", e)
		}
	}
	return strings.Join(lines, "\n") + "\n", opts
}
