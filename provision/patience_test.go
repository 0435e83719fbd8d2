package provision

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// TestPatience: a node that waits for its confirmation gets more time while
// something is waited for, and not at every look.
func TestPatience(t *testing.T) {
	m, g, n := armed(t, switchStep{})
	now := time.Unix(0, 0)
	r := runner(map[string]*machine{"fw01": m}, guardSteps(switchStep{}), nil)
	r.Now = func() time.Time { return now }
	r.ConfirmTimeout = 30 * time.Second
	patience := r.patience([]*application{{r: r, n: n, guard: g}})
	for _, tt := range []struct {
		after time.Duration
		moved bool
	}{{0, true}, {9 * time.Second, false}, {2 * time.Second, true}, {time.Second, false}} {
		now = now.Add(tt.after)
		m.write(t, deadline, "none")
		if err := patience(context.Background()); err != nil {
			t.Fatal(err)
		}
		if moved := m.read(t, deadline) != "none"; moved != tt.moved {
			t.Errorf("after %s: moved %t", tt.after, moved)
		}
	}
	if err := os.Remove(m.root + pendingMark); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if patience(context.Background()) == nil {
		t.Error("a node that has gone back is waited for")
	}
}

// TestOutlasting: the node is told until the work is done, and no longer.
func TestOutlasting(t *testing.T) {
	var told atomic.Int32
	failed := errors.New("failed")
	err := outlasting(func() error {
		for end := time.Now().Add(time.Minute); told.Load() < 2 && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // between two looks
		}
		return failed
	}, 5*time.Millisecond, func() error { told.Add(1); return nil })
	n := told.Load()
	if !errors.Is(err, failed) || n < 2 {
		t.Errorf("%v, told %d times", err, n)
	}
}
