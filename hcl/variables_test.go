package hcl

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	hcl2 "github.com/hashicorp/hcl/v2"

	"fwprov/inventories"
)

// say is what is printed of diagnostics.
func say(t *testing.T, s *Source, diags hcl2.Diagnostics) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b, diags, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// minimal is the smallest inventory with more text after it.
func minimal(more string) []byte { return append(bytes.Clone(inventories.Minimal), more...) }

const domainVar = `
variable "zone" {
  type    = string
  default = "from-default"
}
`

// TestPrecedence holds who wins: --var, a later file, an earlier file, the
// environment, the default.
func TestPrecedence(t *testing.T) {
	src := bytes.ReplaceAll(minimal(domainVar), []byte(`"example.com"`), []byte(`var.zone`))
	one := write(t, "one.vars", `zone = "from-one"`)
	two := write(t, "two.vars", `zone = "from-two"`)
	env := []string{"FWPROV_VAR_zone=from-env", "FWPROV_VAR_other=x"}
	for _, tt := range []struct {
		want string
		opts Options
	}{
		{"from-default", Options{}},
		{"from-env", Options{Env: env}},
		{"from-one", Options{Env: env, VarFiles: []string{one}}},
		{"from-two", Options{Env: env, VarFiles: []string{one, two}}},
		{"from-flag", Options{Env: env, VarFiles: []string{one, two}, Vars: map[string]string{"zone": "from-flag"}}},
		{"from-default", Options{AllowUnknown: true}},
	} {
		pair, _ := load(t, src, tt.opts)
		if pair.Domain != tt.want {
			t.Errorf("%+v: %q, want %q", tt.opts, pair.Domain, tt.want)
		}
	}
}

// TestVarTypes holds how text becomes a value of the type.
func TestVarTypes(t *testing.T) {
	for _, tt := range []struct{ typ, text, expr string }{
		{"string", "7", `var.x == "7"`},
		{"string", `["a"]`, `length(var.x) == 5`},
		{"number", "7", `var.x + 1 == 8`},
		{"bool", "true", `var.x`},
		{"any", "7", `var.x == "7"`},
		{"list(number)", "[1, 2]", `var.x[1] == 2`},
		{"map(string)", `{ a = 1 }`, `var.x.a == "1"`},
		{"set(string)", `["a", "a"]`, `length(var.x) == 1`},
		{"object({ id = number, name = optional(string, \"n\") })", `{ id = 4 }`, `"${var.x.id}${var.x.name}" == "4n"`},
		{"tuple([string, number])", `["a", 1]`, `var.x[1] == 1`},
	} {
		src := minimal(`
variable "x" {
  type = ` + tt.typ + `
  validation {
    condition     = ` + tt.expr + `
    error_message = "got ${jsonencode(var.x)}"
  }
}
`)
		load(t, src, Options{Vars: map[string]string{"x": tt.text}})
		load(t, src, Options{AllowUnknown: true})
	}
}

func TestAsk(t *testing.T) {
	src := minimal(`
variable "a" {
  type        = number
  description = "An a."
}
variable "b" {
  sensitive = true
}
variable "c" {
  default = 1
}
`)
	var asked []Variable
	opts := Options{Ask: func(v Variable) (string, error) {
		asked = append(asked, v)
		return "7", nil
	}}
	load(t, src, opts)
	want := []Variable{{Name: "a", Description: "An a.", Type: "number"}, {Name: "b", Type: "any", Sensitive: true}}
	if len(asked) != 2 || asked[0] != want[0] || asked[1] != want[1] {
		t.Errorf("asked for %+v, want %+v", asked, want)
	}

	opts.Ask = func(v Variable) (string, error) { return "hunter2", errors.New("end of file") }
	_, s, diags := Parse(src, "pair.hcl", opts)
	if out := say(t, s, diags); strings.Count(out, "Asked for it: end of file.") != 2 {
		t.Errorf("said:\n%s", out)
	}

	opts.Ask = func(Variable) (string, error) { return "seven", nil }
	_, s, diags = Parse(src, "pair.hcl", opts)
	if out := say(t, s, diags); !strings.Contains(out, `Typed in: variable "a" is a number, which this is not.`) {
		t.Errorf("said:\n%s", out)
	}
}

// TestVarFile holds what is said of variable files.
func TestVarFile(t *testing.T) {
	src := minimal(domainVar + `
variable "pw" {
  type      = list(string)
  default   = []
  sensitive = true
}
`)
	for _, tt := range []struct{ text, want string }{
		{`zone = "hunter2`, "error: Unterminated template string\n  FILE:1:"},
		{`zone = ["a"]`, "error: Value of another type\n  FILE:1:8"},
		{`zoen = "a"`, "warning: Variable not declared\n  FILE:1:1\n\n     1 | zoen = \"*\"\n       | ^^^^\n\n  pair.hcl declares no variable \"zoen\". Did you mean \"zone\"?"},
		{`zone "a" {}`, "error: Block in a variable file"},
		{`zone = var.pw`, "error: Variables not allowed"},
		{`pw = "hunter2"`, "error: Value of another type\n  FILE:1:6\n\n     1 | pw = \"*******\"\n"},
	} {
		path := write(t, "x.vars", tt.text)
		_, s, diags := Parse(src, "pair.hcl", Options{VarFiles: []string{path}})
		out := strings.ReplaceAll(say(t, s, diags), path, "FILE")
		if !strings.HasPrefix(out, tt.want) || strings.Contains(out, "hunter2") {
			t.Errorf("%s:\n%s\nwant\n%s", tt.text, out, tt.want)
		}
	}
	_, s, diags := Parse(src, "pair.hcl", Options{VarFiles: []string{"/no/such", "/dev/zero"}})
	if out := say(t, s, diags); !strings.Contains(out, "There is no file /no/such.") || !strings.Contains(out, "/dev/zero is not a file.") {
		t.Errorf("said:\n%s", out)
	}
}

// TestUnknown holds that what depends on a variable without a value is let pass,
// and that the rest is checked all the same.
func TestUnknown(t *testing.T) {
	if _, out := load(t, inventories.Guide, Options{AllowUnknown: true}); !strings.Contains(out, "Only one heartbeat") {
		t.Errorf("said:\n%s", out)
	}
	for name, more := range map[string]string{
		"labels":  `dynamic "vlan" { for_each = var.x, labels = [vlan.key], content { id = vlan.value } }`,
		"nested":  `dynamic "service" { for_each = [1], labels = ["s"], content { port = 25, dynamic "server" { for_each = var.x, labels = [server.value], content { address = server.value } } } }`,
		"element": `dynamic "vlan" { for_each = [4, var.x], labels = ["v${vlan.value}"], content { id = vlan.value } }`,
		"service": `service "s" { port = var.x, address = var.x, from = [var.x], transparent = var.x, server "a" { address = var.x } }`,
		"network": `vlan "dmz" { id = 300, network = var.x }`,
		"id":      `vlan "dmz" { id = var.x }`,
		"vrrp":    `vrrp { version = var.x, instances = var.x, heartbeat = var.x, advert_interval = var.x, password = var.x, first_router_id = var.x, profile = var.x }`,
		"allow":   `allow "a" { from = var.x, to = var.x, tcp = var.x, sources = [var.x], icmp = var.x, log = var.x }`,
		"ssh":     `ssh { user = var.x, port = var.x, allow_from = var.x }`,
		"local":   `locals { a = "${var.x}.254", b = local.a } vlan "dmz" { id = 4, vip = local.b }`,
		"env":     `vlan "dmz" { id = env("NO_SUCH") }`,
		"dynamic": `dynamic "ssh" { for_each = var.x ? [1] : [], content { user = "root" } }`,
	} {
		more = strings.NewReplacer(", ", "\n", "{ ", "{\n", " }", "\n}").Replace(more)
		more = strings.ReplaceAll(more, "[4\nvar.x]", "[4, var.x]")
		more = strings.ReplaceAll(more, "} vlan", "}\nvlan")
		src := minimal("\nvariable \"x\" {}\n" + more + "\nallow \"zone\" {\nfrom = \"vee\"\nto = \"outside\"\n}\n")
		zones := bytes.ReplaceAll(src, []byte(`"vee"`), []byte(`"office"`))
		if _, out := load(t, zones, Options{AllowUnknown: true}); out != "" {
			t.Errorf("%s: said:\n%s", name, out)
		}
		_, s, diags := Parse(src, "pair.hcl", Options{AllowUnknown: true})
		out := say(t, s, diags)
		if set := name == "labels" || name == "element"; set == strings.Contains(out, "Unknown zone") {
			t.Errorf("%s: a zone that may yet come, said:\n%s", name, out)
		}
		if name == "env" {
			continue
		}
		_, s, diags = Parse(zones, "pair.hcl", Options{})
		if out := say(t, s, diags); strings.Count(out, "error: ") != 1 || !strings.Contains(out, "error: Variable without a value") {
			t.Errorf("%s: without a value, said:\n%s", name, out)
		}
	}
}

// TestSensitive holds that a sensitive value reaches the secret, from wherever it
// is given, and nothing else.
func TestSensitive(t *testing.T) {
	src := bytes.ReplaceAll(inventories.Guide, []byte("= var.vrrp_password"), []byte(`= substr("${upper(local.pw)}x", 0, 8)`))
	src = append(src, "\nlocals {\n  pw = var.vrrp_password\n}\n"...)
	for _, opts := range []Options{
		{Vars: map[string]string{"vrrp_password": "somepass"}},
		{Env: []string{"FWPROV_VAR_vrrp_password=somepass"}},
		{VarFiles: []string{write(t, "x.vars", `vrrp_password = "somepass"`)}},
		{Ask: func(Variable) (string, error) { return "somepass", nil }},
	} {
		pair, _ := load(t, src, opts)
		if got := pair.VRRP.Password.Reveal(); got != "SOMEPASS" {
			t.Errorf("%q", got)
		}
	}
}

// TestWithoutSecrets holds that only what is secret may be left out.
func TestWithoutSecrets(t *testing.T) {
	pair, _ := load(t, inventories.Guide, Options{WithoutSecrets: true})
	if pair == nil || !pair.VRRP.Password.IsZero() || len(pair.Nodes) != 2 {
		t.Errorf("%+v", pair)
	}
	plain := bytes.ReplaceAll(inventories.Guide, []byte("sensitive"), []byte("#"))
	_, s, diags := Parse(plain, "pair.hcl", Options{WithoutSecrets: true})
	if out := say(t, s, diags); !strings.Contains(out, "error: Variable without a value") {
		t.Errorf("said:\n%s", out)
	}
	if len(s.Variables) != 1 || s.Variables[0].Name != "vrrp_password" || s.Variables[0].Sensitive {
		t.Errorf("%+v", s.Variables)
	}
	secret := bytes.ReplaceAll(inventories.Guide, []byte("= var.vrrp_password"), []byte(`= age_file("secrets.age", "vrrp_password")`))
	name := write(t, "secrets.age", "not opened")
	if pair, s, diags = Parse(secret, filepath.Join(filepath.Dir(name), "pair.hcl"), Options{WithoutSecrets: true}); pair == nil {
		t.Errorf("said:\n%s", say(t, s, diags))
	}
}
