package inventories_test

import (
	"fmt"
	"strings"
	"testing"

	"fwprov/inventories"
)

func TestCensor(t *testing.T) {
	var s inventories.Secrets
	for _, v := range []string{"", "abc", "hunter2", "hunter", "hunter2", "a.b*c"} {
		s = s.Add(v)
	}
	if len(s) != 3 {
		t.Errorf("%d secrets, want those that are long enough, once", len(s))
	}
	for in, want := range map[string]string{
		"":                          "",
		"abc":                       "abc",
		"auth_pass hunter2, hunter": "auth_pass (sensitive), (sensitive)",
		"hunter22":                  "(sensitive)2",
		"aXbYc a.b*c":               "aXbYc (sensitive)",
	} {
		if got := s.Censor(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s", s, s, s, struct{ hidden inventories.Secrets }{s}); strings.Contains(got, "hunter") {
		t.Error(got)
	}
}

func TestSecretsOfAPair(t *testing.T) {
	p := &inventories.Pair{Name: "fw"}
	if got := p.Secrets(); got != nil {
		t.Errorf("%d secrets of a pair without one", len(got))
	}
	p.VRRP.Password = inventories.NewSecret("hunter2")
	if got := p.Secrets().Censor("it is hunter2"); got != "it is (sensitive)" {
		t.Error(got)
	}
}
