package hcl

import (
	"bytes"
	"strings"
	"testing"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/rogpeppe/go-internal/txtar"

	"fwprov/inventories"
)

// FuzzLoad holds that no text makes Load panic, that it gives a pair or an error,
// that a pair obeys the rules, and that a sensitive value is never said.
func FuzzLoad(f *testing.F) {
	f.Add(inventories.Guide, false)
	f.Add(inventories.Minimal, true)
	archive, err := txtar.ParseFile("testdata/mistakes.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		if name, ok := strings.CutSuffix(file.Name, "/edit"); ok {
			src, _ := edited(f, string(archive.Files[0].Data), string(file.Data))
			f.Add([]byte(src), len(name)%2 == 0)
		}
	}
	for _, more := range []string{
		`variable "pw" {` + "\n" + `sensitive = true` + "\n}\n" + `locals {` + "\n" + `a = { (var.pw) = [for x in [var.pw] : parseint(x, 10)] }` + "\n}",
		`variable "x" {` + "\n}\n" + `dynamic "vlan" {` + "\n" + `for_each = var.x` + "\n" + `labels = [vlan.key]` + "\ncontent {\n" + `id = vlan.value.id` + "\n}\n}",
		"service \"s\" {\n port = 1\n check {\n type = \"http\"\n }\n timeouts {\n client = \"1h\"\n }\n server \"a\" { address = \"10.10.2.1\" }\n}",
	} {
		f.Add(minimal(more), true)
	}
	const secret = "Qz7sEcret"
	f.Fuzz(func(t *testing.T, src []byte, unknown bool) {
		if len(src) > 8<<10 || bytes.Contains(src, []byte(secret)) {
			t.Skip("too long, or has the secret in it")
		}
		opts := Options{AllowUnknown: unknown}
		for _, name := range []string{"pw", "vrrp_password", "x"} {
			opts.Env = append(opts.Env, EnvPrefix+name+"="+secret)
		}
		if unknown {
			opts.Env = opts.Env[:2]
		}
		pair, source, diags := Parse(src, "/no/such/pair.hcl", opts)
		if (pair == nil) != diags.HasErrors() {
			t.Fatalf("pair %v with %v", pair, diags)
		}
		out := say(t, source, diags)
		if strings.Contains(out, secret) && allSensitive(src) {
			t.Fatalf("said:\n%s", out)
		}
		if pair != nil && !unknown {
			for _, p := range pair.Problems() {
				if !p.Warning {
					t.Fatalf("accepted with %+v", p)
				}
			}
		}
		if formatted, _, diags := Format(src, "pair.hcl"); !diags.HasErrors() {
			if again, _, diags := Format(formatted, "pair.hcl"); diags.HasErrors() || !bytes.Equal(again, formatted) {
				t.Fatalf("laid out twice: %v\n%s", diags, again)
			}
		}
	})
}

// allSensitive reports whether nothing in an inventory has a right to show what is
// in the environment.
func allSensitive(src []byte) bool {
	file, diags := hclsyntax.ParseConfig(src, "pair.hcl", hcl2.InitialPos)
	if diags.HasErrors() || bytes.Contains(src, []byte("env")) {
		return false
	}
	for _, v := range newLoader("pair.hcl", Options{}).variables(file.Body.(*hclsyntax.Body)) {
		if !v.Sensitive {
			return false
		}
	}
	return true
}
