package provision

import (
	"context"
	"strings"
	"testing"
)

// onlooker is a Verifier that keeps the facts it was given.
type onlooker struct {
	seen *map[string]Facts
}

func (onlooker) Name() string                 { return "onlooker" }
func (onlooker) Probe() Probe                 { return Probe{} }
func (onlooker) Plan(Facts) ([]Change, error) { return nil, nil }
func (onlooker) VerifyProbe() Probe           { return Probe{Script: "echo hello\n", Parse: hello} }
func (w onlooker) Verify(n map[string]Facts) []Check {
	*w.seen = n
	return nil
}

func hello(out string, f Facts) error {
	f["said"] = strings.TrimSpace(out)
	return nil
}

// TestLook holds that a node that cannot be reached hides nothing of the other.
func TestLook(t *testing.T) {
	machines := map[string]*machine{"fw01": newMachine(t), "fw02": newMachine(t)}
	machines["fw02"].cut = true
	r := runner(machines, func(string) []Step { return nil }, nil)
	defer r.Close()
	facts, errs := r.Look(context.Background(), Probe{Script: "echo hello\n", Parse: hello})
	if facts["fw01"]["said"] != "hello" || len(facts) != 1 || len(errs) != 1 || !strings.Contains(errs["fw02"].Error(), "refused") {
		t.Errorf("facts %v, errors %v", facts, errs)
	}
}

// TestVerifierKnowsWhenItAsked holds that a Verifier is told when each node was
// asked, and that all nodes are connected before one is.
func TestVerifierKnowsWhenItAsked(t *testing.T) {
	machines := map[string]*machine{"fw01": newMachine(t), "fw02": newMachine(t)}
	seen := map[string]Facts{}
	var events []Event
	r := runner(machines, func(string) []Step { return []Step{onlooker{&seen}} }, &events)
	defer r.Close()
	h, err := r.Verify(context.Background())
	if err != nil || h.State != Healthy {
		t.Fatalf("%+v, %v", h, err)
	}
	for _, n := range []string{"fw01", "fw02"} {
		if f := seen[n]; f["asked from"] == "" || f["asked until"] == "" || f["said"] != "hello" {
			t.Errorf("%s: %v", n, f)
		}
	}
	asked := 0
	for _, e := range events {
		switch {
		case e.Event == Probing:
			asked++
		case e.Event == Connecting && asked > 0:
			t.Errorf("%s is connected after another was asked: %v", e.Node, events)
		}
	}
	machines["fw02"].cut = true
	r.drop("fw02")
	h, err = r.Verify(context.Background())
	if err != nil || h.State != Degraded || seen["fw02"] != nil {
		t.Errorf("%+v, %v, %v", h, err, seen)
	}
	for _, c := range h.Checks {
		if !c.OK && (c.Why == "" || c.Hint == "") {
			t.Errorf("%+v says neither why it matters nor how to look further", c)
		}
	}
}
