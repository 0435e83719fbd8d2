package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fwprov/e2e/lab"
)

func TestArrange(t *testing.T) {
	w, _, _ := testWorld(t)
	for _, tc := range []struct{ in, want string }{
		{"plan f", "plan -- f"},
		{"plan f --limit a", "plan --limit a -- f"},
		{"plan --limit a f --json g", "plan --limit a --json -- f g"},
		{"plan f --limit=a", "plan --limit=a -- f"},
		{"plan f -- --json", "plan -- f --json"},
		{"plan --json -- -x", "plan --json -- -x"},
		{"render f -o -", "render -o - -- f"},
		{"plan -", "plan -- -"},
		{"lab exec f fw01 -- ls -l", "lab exec -- f fw01 ls -l"},
		{"lab exec f fw01 --name x -- ls -l --name y", "lab exec --name x -- f fw01 ls -l --name y"},
		{"lab", "lab"},
		{"", ""},
		{"plan -h", "plan -h"},
		{"plan f --var a=-1", "plan --var a=-1 -- f"},
		{"plan f --no", "error: fwprov plan has no flag --no; fwprov plan --help lists them"},
		{"plan --json=false f", "plan --json=false -- f"},
		{"lab exec f fw01 ls -l", "error: fwprov lab exec has no flag -l; fwprov lab exec --help lists them"},
	} {
		got, err := arrange(newApp(w), append([]string{"fwprov"}, strings.Fields(tc.in)...))
		line := strings.TrimSpace(strings.TrimPrefix(strings.Join(got, " "), "fwprov"))
		if err != nil {
			line = "error: " + err.Error()
		}
		if line != tc.want {
			t.Errorf("%q becomes %q, want %q", tc.in, line, tc.want)
		}
	}
}

func TestGravest(t *testing.T) {
	order := []int{exitRolledBack, exitInterrupted, exitLocked, exitError, exitUnhealthy, exitChanges, exitOK}
	for i, want := range order {
		codes := slices.Clone(order[i:])
		slices.Reverse(codes)
		if got := gravest(codes...); got != want {
			t.Errorf("gravest(%v) = %d, want %d", codes, got, want)
		}
	}
	if gravest() != exitOK {
		t.Error("nothing at all is not a success")
	}
}

func TestSeparated(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{a, "a"},
		{errors.Join(a, errors.Join(b, c)), "a|b|c"},
		{fmt.Errorf("lab: %w", errors.Join(a, b)), "lab: a\nb"},
		{fmt.Errorf("%w and %w", a, b), "a and b"},
	} {
		var got []string
		for _, e := range separated(tc.err) {
			got = append(got, e.Error())
		}
		if strings.Join(got, "|") != tc.want {
			t.Errorf("separated(%q) = %q, want %q", tc.err, got, tc.want)
		}
	}
}

// TestSetup holds the script that prepares a fresh machine to what the lab asks
// for.
func TestSetup(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("..", "..", "e2e", "setup.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range lab.Packages() {
		if !strings.Contains(string(script), " "+pkg+"\n") {
			t.Errorf("e2e/setup.sh does not install %s", pkg)
		}
	}
}
