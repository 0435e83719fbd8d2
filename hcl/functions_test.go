package hcl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	hcl2 "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

func TestFunctions(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key.txt"), []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "binary"), []byte("\xff\xfe"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLoader(filepath.Join(dir, "pair.hcl"), Options{Env: []string{"SITE=north", "EMPTY="}})
	for _, tt := range []struct{ expr, want string }{
		{`cidrhost("10.10.2.0/24", 254)`, `"10.10.2.254"`},
		{`cidrhost("10.10.2.7/24", 0)`, `"10.10.2.0"`},
		{`cidrhost("10.10.0.0/16", 258)`, `"10.10.1.2"`},
		{`cidrhost("10.10.2.0/24", -2)`, `"10.10.2.254"`},
		{`cidrhost("fd00:fd12:3456:7890::/72", 34)`, `"fd00:fd12:3456:7890::22"`},
		{`cidrhost("10.10.2.0/24", 256)`, `! 10.10.2.0/24 has no host 256`},
		{`cidrhost("10.10.2.0/24", -257)`, `! 10.10.2.0/24 has no host -257`},
		{`cidrhost("10.10.2.0", 1)`, `! "10.10.2.0" is no network such as 10.10.0.0/16`},
		{`cidrhost("10.10.2.0/24", 1.5)`, `! hostnum is a whole number`},
		{`cidrhost("10.10.2.0/24", 1e40)`, `! hostnum is a whole number`},
		{`cidrsubnet("10.10.0.0/16", 8, 2)`, `"10.10.2.0/24"`},
		{`cidrsubnet("fd00:fd12:3456:7890::/56", 16, 162)`, `"fd00:fd12:3456:7800:a200::/72"`},
		{`cidrsubnet("10.10.0.0/16", 16, 65535)`, `"10.10.255.255/32"`},
		{`cidrsubnet("10.10.0.0/16", 17, 0)`, `! 10.10.0.0/16 cannot be cut by 17 bits`},
		{`cidrsubnet("10.10.0.0/16", 8, 256)`, `! 8 bits have no number 256`},
		{`cidrsubnet("10.10.0.0/16", 8, -1)`, `! 8 bits have no number -1`},
		{`cidrnetmask("172.16.0.0/12")`, `"255.240.0.0"`},
		{`cidrnetmask("fd00::/64")`, `! only IPv4 has netmasks`},
		{`env("SITE")`, `"north"`},
		{`env("EMPTY")`, `""`},
		{`env("NO_SUCH")`, `! NO_SUCH is not in the environment`},
		{`try(env("NO_SUCH"), "south")`, `"south"`},
		{`can(env("NO_SUCH"))`, `false`},
		{`file("key.txt")`, `"abc\n"`},
		{`trimspace(file("` + filepath.Join(dir, "key.txt") + `"))`, `"abc"`},
		{`file("no/such")`, `! there is no file ` + filepath.Join(dir, "no/such")},
		{`file(".")`, `! is not a file`},
		{`file("/dev/zero")`, `! /dev/zero is not a file`},
		{`file("binary")`, `! is not text in UTF-8`},
		{`file("a\u0000b")`, `! a path has no NUL character`},
		{`length("abc")`, `3`},
		{`length([1, 2])`, `2`},
		{`length({ a = 1 })`, `1`},
		{`[for i in range(2, 5) : format("v%03d", i)]`, `["v002","v003","v004"]`},
		{`join(",", sort(setunion(["b"], ["a"])))`, `"a,b"`},
		{`lookup({ a = 1 }, "b", 2)`, `2`},
		{`merge({ a = 1 }, { b = 2 })`, `{"a":1,"b":2}`},
		{`jsondecode("[1]")[0] + tonumber("2")`, `3`},
		{`upper(trimsuffix("a.example.com", ".example.com"))`, `"A"`},
	} {
		expr, diags := hclsyntax.ParseExpression([]byte(tt.expr), "x", hcl2.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		v, diags := expr.Value(l.ctx)
		if want, ok := strings.CutPrefix(tt.want, "! "); ok {
			if !diags.HasErrors() || !strings.Contains(diags[0].Detail, want) {
				t.Errorf("%s: %v, %v, want the error %s", tt.expr, v, diags, want)
			}
			continue
		}
		if diags.HasErrors() {
			t.Errorf("%s: %s", tt.expr, diags)
			continue
		}
		got, err := ctyjson.Marshal(v, v.Type())
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.expr, got, err, tt.want)
		}
	}
}

// TestDiscreet holds that no function quotes a sensitive argument in an error, nor
// loses the mark.
func TestDiscreet(t *testing.T) {
	l := newLoader("pair.hcl", Options{})
	l.ctx.Variables = map[string]cty.Value{"s": cty.StringVal("hunter2").Mark(sensitive)}
	for name := range l.ctx.Functions {
		for args := range 4 {
			expr, diags := hclsyntax.ParseExpression([]byte(name+"("+strings.TrimSuffix(strings.Repeat("s, ", args), ", ")+")"), "x", hcl2.InitialPos)
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			v, diags := expr.Value(l.ctx)
			if strings.Contains(diags.Error(), "hunter2") {
				t.Errorf("%s: %s", name, diags)
			}
			if !diags.HasErrors() && args > 0 && !v.ContainsMarked() && name != "can" {
				t.Errorf("%s of a sensitive value is not sensitive", name)
			}
		}
	}
}
