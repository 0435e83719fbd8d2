package hcl

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	hcl2 "github.com/hashicorp/hcl/v2"

	"fwprov/inventories"
)

// compare two pairs; secrets by value.
func compare(a, b *inventories.Pair) string {
	return cmp.Diff(a, b, cmp.Comparer(func(x, y inventories.Secret) bool { return x.Equal(y) }),
		cmp.Comparer(func(x, y interface{ IsValid() bool }) bool { return x == y }))
}

// TestColour holds that colour is there only when asked for, and that an inventory
// cannot bring its own.
func TestColour(t *testing.T) {
	src := minimal("vlan \"\x1b[31mred\" {\n\tid = \"a\u202eb\"\n}\n")
	_, s, diags := Parse(src, "a\x1bb.hcl", Options{})
	plain := say(t, s, diags)
	if strings.ContainsAny(plain, "\x1b\u202e") || !strings.Contains(plain, "\n    45 | \tid = \"a�b\"\n       | \t     ^^^^^\n") {
		t.Errorf("said:\n%q", plain)
	}
	var b bytes.Buffer
	if err := s.Write(&b, diags, true); err != nil {
		t.Fatal(err)
	}
	if got := strings.NewReplacer("\x1b[31m", "", "\x1b[1m", "", "\x1b[0m", "").Replace(b.String()); got != plain || !strings.Contains(b.String(), "\x1b[31merror") {
		t.Errorf("said:\n%q", b.String())
	}
}

// TestBroken holds that an inventory that does not parse shows no password either.
func TestBroken(t *testing.T) {
	for _, text := range []string{
		"vrrp {\n  password = \"hunter2\n}\n",
		"vrrp {\n  password = \"hunter2\" }\n}\n",
		"variable \"p\" {\n  sensitive = true\n  default = hunter2\"\n}\n",
		"vrrp { password = \"hunter2\"\n",
	} {
		_, s, diags := Parse([]byte(text), "pair.hcl", Options{})
		out := say(t, s, diags)
		if !diags.HasErrors() || strings.Contains(out, "hunter2") {
			t.Errorf("said:\n%s", out)
		}
		_, s, diags = Format([]byte(text), "pair.hcl")
		if out := say(t, s, diags); !diags.HasErrors() || strings.Contains(out, "hunter2") {
			t.Errorf("said:\n%s", out)
		}
		var lib bytes.Buffer
		if err := hcl2.NewDiagnosticTextWriter(&lib, s.Files, 80, false).WriteDiagnostics(diags); err != nil || strings.Contains(lib.String(), "hunter2") {
			t.Errorf("the library says:\n%s", lib.String())
		}
	}
}

func TestFormat(t *testing.T) {
	got, _, diags := Format([]byte("vlan   \"mail\"{\nid=2 # two\n   network   =   \"10.10.2.0/24\"\n}\n"), "pair.hcl")
	if want := "vlan \"mail\" {\n  id      = 2 # two\n  network = \"10.10.2.0/24\"\n}\n"; diags.HasErrors() || string(got) != want {
		t.Errorf("%s\n%v", got, diags)
	}
	for _, src := range [][]byte{inventories.Guide, inventories.Minimal} {
		if got, _, _ := Format(src, "x"); !bytes.Equal(got, src) {
			t.Errorf("an example is not laid out canonically:\n%s", cmp.Diff(string(src), string(got)))
		}
	}
}

func TestLoadMissing(t *testing.T) {
	pair, s, diags := Load("/no/such.hcl", Options{})
	if out := say(t, s, diags); pair != nil || out != "error: Inventory cannot be read\n  There is no file /no/such.hcl.\n" {
		t.Errorf("said:\n%s", out)
	}
}
