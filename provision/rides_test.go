package provision

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"fwprov/provision/remote"
)

// rider is a connection that is somebody else's.
type rider struct {
	*machine
	scripts *[]string
}

func (r rider) Rides() string { return "/run/ssh" }

func (r rider) Exec(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	*r.scripts = append(*r.scripts, cmd.Script)
	return r.machine.Exec(ctx, cmd)
}

// TestWhatRides: what only looks may ride; what changes a node does not, and is
// not begun where that is the only way.
func TestWhatRides(t *testing.T) {
	m := guardMachine(t)
	var dials []bool
	var ridden []string
	alone := errors.New("no key is accepted")
	r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{}), nil)
	r.Dial = func(_ context.Context, _ string, fresh bool) (Conn, error) {
		dials = append(dials, fresh)
		switch {
		case !fresh:
			return rider{m, &ridden}, nil
		case alone != nil:
			return nil, alone
		}
		return m, nil
	}
	defer r.Close()
	plan := r.Plan(t.Context())
	if err := plan.Err(); err != nil || plan.Changes != 5 || !slices.Equal(dials, []bool{false}) {
		t.Fatalf("%d changes, %v, connections %v", plan.Changes, err, dials)
	}
	looks := len(ridden)

	_, err := r.Apply(t.Context(), plan)
	if !errors.Is(err, alone) || !strings.Contains(err.Error(), "by way of the ssh at /run/ssh, but a change is confirmed over a connection that fwprov makes by itself") {
		t.Errorf("where it has no way of its own: %v", err)
	}
	if !m.missing(lockFile) || !m.missing(pendingMark) || len(ridden) != looks {
		t.Error("and yet something was done")
	}

	alone, dials = nil, nil
	sum, err := r.Apply(t.Context(), plan)
	if err != nil || sum.Changed != 5 {
		t.Errorf("%+v, %v", sum, err)
	}
	if !slices.Equal(dials, []bool{true, true}) {
		t.Errorf("connections %v, want one for the changes and one that confirms, both fresh", dials)
	}
	if len(ridden) != looks {
		t.Errorf("it rode with %q", ridden[looks:])
	}
	r.drop("fw01")
	if _, err := r.conn(t.Context(), "fw01"); err != nil || !dials[len(dials)-1] {
		t.Errorf("a node that is changed is reached anew by riding, %v", err)
	}
}

// TestRiderHasNoSession: then a connection of our own takes its place.
func TestRiderHasNoSession(t *testing.T) {
	m := newMachine(t)
	r := runner(map[string]*machine{"fw01": m}, func(string) []Step { return nil }, nil)
	r.Dial = func(_ context.Context, _ string, fresh bool) (Conn, error) {
		if !fresh {
			full := &narrow{machine: m}
			full.one.Lock()
			return full, nil
		}
		return m, nil
	}
	defer r.Close()
	res, err := r.exec(t.Context(), "fw01", "try", fileTimeout, remote.Command{Script: "echo hi"})
	if err != nil || string(res.Stdout) != "hi\n" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
}
