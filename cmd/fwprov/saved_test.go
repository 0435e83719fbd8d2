package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"fwprov/hcl"
	"fwprov/inventories"
	"fwprov/provision"
)

// hostKeys gives the nodes of a house keys.
func (h *house) hostKeys(text string) {
	h.t.Helper()
	for _, node := range []string{"fw01", "fw02"} {
		dir := filepath.Join(h.dir, node, "etc", "ssh")
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "ssh_host_ed25519_key"), []byte(text+node), 0o600)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// saved is a plan of a house, saved in a file.
func (h *house) saved() string {
	h.t.Helper()
	h.hostKeys("key of ")
	file := filepath.Join(h.dir, "p")
	if err := h.app.savePlan(h.t.Context(), file, h.app.plan(h.t.Context())[0]); err != nil {
		h.t.Fatal(err)
	}
	return file
}

func TestSavedPlan(t *testing.T) {
	h := newHouse(t, "off", func(w *world, _ *options) { w.inTerm, w.errTerm = true, true })
	h.app.pairs[0].VRRP.Password = inventories.NewSecret("Xq7mZr2k")
	file := h.saved()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(text), "Xq7mZr2k") || strings.Contains(string(text), provision.Hash([]byte("Xq7mZr2k"))) {
		t.Errorf("%v: %s", err, text)
	}
	saved, err := readSaved(file)
	if err != nil || saved == nil {
		t.Fatal(saved, err)
	}
	h.app.saved = saved
	code, err := h.app.run(t.Context())
	if code != exitOK || err != nil || h.state("fw02") != "on" {
		t.Errorf("exit code %d, %v, the light is %s: %s", code, err, h.state("fw02"), h.stderr)
	}
	// A saved plan is known by its content, and may be replaced.
	if err := h.app.savePlan(t.Context(), file, h.app.plan(t.Context())[0]); err != nil {
		t.Error(err)
	}
	other := filepath.Join(h.dir, "pair.hcl")
	if err := os.WriteFile(other, []byte("cluster \"x\" {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.app.savePlan(t.Context(), other, h.app.plan(t.Context())[0]); err == nil || !strings.Contains(err.Error(), "is no saved plan") {
		t.Errorf("an inventory was replaced: %v", err)
	}
}

func TestSavedPlanRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		alter func(h *house)
		want  string
	}{
		"node": {func(h *house) {
			for _, node := range []string{"fw01", "fw02"} {
				if err := os.WriteFile(filepath.Join(h.dir, node, "light"), []byte("dusk\n"), 0o600); err != nil {
					h.t.Fatal(err)
				}
			}
		}, "node fw01 is no longer what it was when the plan was saved:\n  to be done in another way: light: update the light (is dusk)\nerror: node fw02"},
		"done already": {func(h *house) {
			if err := os.WriteFile(filepath.Join(h.dir, "fw02", "light"), []byte("on\n"), 0o600); err != nil {
				h.t.Fatal(err)
			}
		}, "node fw02 is no longer what it was when the plan was saved:\n  not to be done any more: light: update the light"},
		"role": {func(h *house) {
			h.app.pairs[0].runner.Roles = func(map[string]provision.Facts) map[string]provision.Role {
				return map[string]provision.Role{"fw01": provision.Active, "fw02": provision.Standby}
			}
		}, "it was without a VIP like its peer and is active"},
		"script": {func(h *house) {
			h.app.pairs[0].runner.Nodes[0].Steps = []provision.Step{brighter{light{filepath.Join(h.dir, "fw01", "light")}}}
		},
			"the changes are the same, but not what they follow from"},
		"secret": {func(h *house) { h.app.pairs[0].VRRP.Password = inventories.NewSecret("other") },
			"a sensitive value of the inventory is another than when the plan was saved"},
		"machine": {func(h *house) { h.hostKeys("another of ") }, "does not bear the seal of fw01"},
		"forged": {func(h *house) {
			d := h.app.saved
			d.Body = json.RawMessage(strings.Replace(string(d.Body), "is off", "is fine", 1))
			d.Digest = d.digest()
			if err := json.Unmarshal(d.Body, &d.body); err != nil {
				h.t.Fatal(err)
			}
		}, "does not bear the seal of fw01: it was altered"},
	} {
		h := newHouse(t, "off", nil)
		var err error
		if h.app.saved, err = readSaved(h.saved()); err != nil {
			t.Fatal(err)
		}
		tc.alter(h)
		code, err := h.app.run(t.Context())
		said := h.stderr.String()
		if code != exitError || err != nil || !strings.Contains(said, "error: ") || !strings.Contains(said, tc.want) || !strings.Contains(said, "Nothing was changed.") {
			t.Errorf("%s: exit code %d, %v, said\n%s", name, code, err, said)
		}
		if strings.Count(said, "sensitive value") > 1 {
			t.Errorf("%s: said twice:\n%s", name, said)
		}
		if h.state("fw01") == "on" {
			t.Errorf("%s: carried out all the same", name)
		}
	}
}

// brighter is a light whose change does the same in another way.
type brighter struct{ light }

func (b brighter) Plan(f provision.Facts) ([]provision.Change, error) {
	c, err := b.light.Plan(f)
	for i := range c {
		c[i].Script += "\ntrue"
	}
	return c, err
}

func TestReadSaved(t *testing.T) {
	h := newHouse(t, "off", nil)
	file := h.saved()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(from, to string) string { return strings.Replace(string(text), from, to, 1) }
	for name, tc := range map[string]struct{ text, want string }{
		"whole":           {string(text), ""},
		"an inventory":    {"cluster \"x\" {}\n", "none"},
		"other JSON":      {`{"a":1}`, "none"},
		"nothing":         {"", "none"},
		"cut off":         {string(text[:len(text)-9]), "was altered after it was saved, or is not all there"},
		"altered body":    {swap("is off", "is on"), "was altered"},
		"altered seal":    {swap(`"changes":"`, `"changes":"0`), "was altered"},
		"altered digest":  {swap(`"digest":"`, `"digest":"0`), "was altered"},
		"another format":  {swap(`"fwprov_plan":1`, `"fwprov_plan":2`), "in format 2"},
		"space before it": {"\n " + string(text), ""},
	} {
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := readSaved(file)
		if (d == nil) != (tc.want == "none") || tc.want != "none" && (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, %v", name, d != nil, err)
		}
	}
	if d, err := readSaved(filepath.Join(h.dir, "nowhere")); d != nil || err != nil {
		t.Error(d, err)
	}
}

// TestSavedSession: what a plan was made with comes back, and only with an inventory
// that means the same to a program that is the same.
func TestSavedSession(t *testing.T) {
	h := newHouse(t, "off", nil)
	h.hostKeys("key of ")
	src := string(inventories.Minimal) + "\nvariable \"id\" {\n  type = number\n}\nvariable \"pw\" {\n  sensitive = true\n}\nvlan \"more\" { id = var.id }\n"
	file, plan := filepath.Join(h.dir, "pair.hcl"), filepath.Join(h.dir, "p")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(src)
	w, _, _ := testWorld(t)
	s, err := open(t.Context(), w, options{vars: hcl.Values{"id": "44", "pw": "Xq7mZr2k"}, limit: []string{"fw02"}, skip: []string{"packages"}, ageIdentities: []string{"/keys/age.txt"}, sudoFD: -1}, []string{file})
	if err != nil {
		t.Fatal(err)
	}
	s.pairs[0].runner.Dial = func(_ context.Context, node string, _ bool) (provision.Conn, error) {
		return shell{filepath.Join(h.dir, node)}, nil
	}
	none := &provision.Plan{Nodes: []*provision.NodePlan{{Name: "fw02", Changes: []provision.Change{}}}}
	if err := s.savePlan(t.Context(), plan, none); err != nil {
		t.Fatal(err)
	}
	s.end()
	if text, err := os.ReadFile(plan); err != nil || strings.Contains(string(text), "Xq7mZr2k") || !strings.Contains(string(text), `"vars":{"id":"44"}`) {
		t.Errorf("%v: %s", err, text)
	}
	d, err := readSaved(plan)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(environ ...string) (*session, error) {
		w, _, _ := testWorld(t)
		w.environ = environ
		s, err := d.begin(t.Context(), w, cli.NewContext(newApp(w), flag.NewFlagSet("apply", flag.ContinueOnError), nil))
		if err == nil {
			defer s.end()
		}
		return s, err
	}
	s, err = begin("FWPROV_VAR_pw=Xq7mZr2k")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.pairs[0].nodes) != 1 || s.pairs[0].nodes[0].Name != "fw02" || !slices.Equal(s.o.skip, []string{"packages"}) || !slices.Equal(s.o.ageIdentities, []string{"/keys/age.txt"}) || !slices.ContainsFunc(s.pairs[0].VLANs, func(v inventories.VLAN) bool { return v.ID == 44 }) {
		t.Errorf("another session: %+v", s.o)
	}
	if _, err := begin(); !errors.Is(err, exit(exitError)) {
		t.Errorf("without the sensitive variable: %v", err)
	}
	write("# a comment\n" + src)
	if _, err := begin("FWPROV_VAR_pw=Xq7mZr2k"); err != nil {
		t.Errorf("the meaning is the same: %v", err)
	}
	write(src + "vlan \"lab\" { id = 7 }\n")
	if _, err := begin("FWPROV_VAR_pw=Xq7mZr2k"); err == nil || !strings.Contains(err.Error(), "does not mean any more what it meant") || !strings.Contains(err.Error(), "VLANs[lab].ID is new: 7") {
		t.Errorf("with another VLAN: %v", err)
	}
	write(src)
	d.body.Tool = "v0"
	if _, err := begin("FWPROV_VAR_pw=Xq7mZr2k"); err == nil || !strings.Contains(err.Error(), "was saved by fwprov v0, and this is ") {
		t.Errorf("another version: %v", err)
	}
}

func TestDifferences(t *testing.T) {
	for _, tc := range []struct{ then, now, want string }{
		{`{"a":1}`, `{"a":1}`, "[]"},
		{`{"a":1,"b":{"c":"x"}}`, `{"a":2,"b":{"c":"y"}}`, `[a is 2, was 1 b.c is "y", was "x"]`},
		{`{"v":[{"Name":"a","ID":1},{"Name":"b","ID":2}]}`, `{"v":[{"Name":"b","ID":3}]}`, `[v[a].ID is gone, was 1 v[a].Name is gone, was "a" v[b].ID is 3, was 2]`},
		{`{"a":[]}`, `{"a":[1,2,3,4,5,6,7,8]}`, "[a[0] is new: 1 a[1] is new: 2 a[2] is new: 3 a[3] is new: 4 a[4] is new: 5 a[5] is new: 6 and 2 more]"},
	} {
		if got := fmt.Sprint(differences([]byte(tc.then), []byte(tc.now))); got != tc.want {
			t.Errorf("%s to %s: %s, want %s", tc.then, tc.now, got, tc.want)
		}
	}
}
