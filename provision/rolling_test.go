package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"fwprov/provision/remote"
)

func TestActiveIsDrained(t *testing.T) {
	d := newDuo(t)
	sum, err := d.apply(d.runner())
	if err != nil || sum.Changed != 2 {
		t.Errorf("%+v, %v", sum, err)
	}
	d.happened("fw02 changed", "fw01 drained by alice", "fw01 changed", "fw01 undrained")
	if !d.has("fw02", "/etc/vip") || d.has("fw01", "/etc/vip") || d.has("fw01", "/run/fwprov/drain") {
		t.Error("the traffic is not with fw02, or fw01 is still drained")
	}
}

func TestPeerThatCouldNotTakeOver(t *testing.T) {
	d := newDuo(t)
	d.machines["fw02"].write(t, "/etc/sick", "")
	sum, err := d.apply(d.runner())
	var not *NotReadyError
	if !errors.As(err, &not) || not.Node != "fw01" || not.Peer != "fw02" || sum.Changed != 1 || sum.Failed != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	want := "node fw01 is left as it is, because fw02 could not take over from it within 3s:\n  health: it is sick (get well)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
	d.happened("fw02 changed") // the sick one may be changed

	r := d.runner()
	r.Force = true
	told := ""
	r.Emit = func(e Event) {
		if e.Event == Forced {
			told += e.Node + " " + e.Message
		}
	}
	if sum, err := d.apply(r); err != nil || sum.Changed != 1 {
		t.Errorf("with force: %+v, %v", sum, err)
	}
	if want := "fw01 is changed because of --force, although fw02 could not take over:\n  health: it is sick (get well)"; told != want {
		t.Errorf("told %q, want %q", told, want)
	}
	d.happened("fw02 changed", "fw01 changed") // nobody to hand over to
}

func TestHandoverThatFails(t *testing.T) {
	d := newDuo(t)
	d.deaf = true
	sum, err := d.apply(d.runner())
	var back *RolledBackError
	if !errors.As(err, &back) || !strings.Contains(err.Error(), "fw02 did not take over within 3s") || sum.Changed != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	d.happened("fw02 changed", "fw01 drained by alice", "fw01 undrained", "fw01 restored")
	if d.has("fw01", "/run/fwprov/drain") || d.has("fw01", "/etc/a.conf") || !d.has("fw01", "/etc/vip") {
		t.Error("fw01 is not as it was")
	}
}

func TestTogether(t *testing.T) {
	d := newDuo(t)
	d.together = "the language"
	sum, err := d.apply(d.runner())
	if err != nil || sum.Changed != 2 {
		t.Errorf("%+v, %v", sum, err)
	}
	d.happened("fw02 drained by alice", "fw02 changed", "fw01 changed", "fw02 held by alice that came to no end", "fw02 released", "fw02 undrained")
	if !d.has("fw01", "/etc/vip") || d.has("fw02", "/run/fwprov/drain") {
		t.Error("the traffic has left fw01, or fw02 is still held")
	}
	for _, node := range []string{"fw01", "fw02"} {
		if d.has(node, "/var/lib/fwprov/rollback/pending") {
			t.Errorf("%s is not confirmed", node)
		}
	}
}

func TestTogetherGoesBackTogether(t *testing.T) {
	for _, tt := range []struct {
		fails string
		want  []string
	}{
		{"fw01", []string{"fw02 drained by alice", "fw02 changed", "fw01 changed", "fw01 restored", "fw02 restored"}},
		{"fw02", []string{"fw02 drained by alice", "fw02 changed", "fw02 restored"}},
	} {
		t.Run(tt.fails, func(t *testing.T) {
			d := newDuo(t)
			d.together, d.fails = "the language", tt.fails
			sum, err := d.apply(d.runner())
			if err == nil || !sum.RolledBack || sum.Changed != 0 {
				t.Errorf("%+v, %v", sum, err)
			}
			d.happened(tt.want...)
			for _, node := range []string{"fw01", "fw02"} {
				if d.has(node, "/etc/a.conf") || d.has(node, "/run/fwprov/drain") {
					t.Errorf("%s is not as it was", node)
				}
			}
		})
	}
}

// TestConfirmedTogether: once the active node is confirmed, the standby does not take
// over with settings of before, and until it is, both can go back.
func TestConfirmedTogether(t *testing.T) {
	held := []string{"fw02 drained by alice", "fw02 changed", "fw01 changed", "fw02 held by alice that came to no end"}
	for _, tt := range []struct {
		name  string
		spoil func(*duo, *Runner, string, string) bool // of a node and a script: the connection is gone
		want  []string
		kept  map[string]bool // nodes that keep the change
		drain bool            // fw02 is kept drained
		err   string
	}{
		{
			name: "the standby cannot be prepared",
			spoil: func(_ *duo, _ *Runner, node, script string) bool {
				return node == "fw02" && strings.Contains(script, "held by")
			},
			want: []string{"fw02 drained by alice", "fw02 changed", "fw01 changed", "fw01 restored", "fw02 released", "fw02 restored"},
			err:  "prepare to confirm",
		},
		{
			name: "the standby is not confirmed",
			spoil: func(_ *duo, _ *Runner, node, script string) bool {
				return node == "fw02" && strings.Contains(script, ">"+confirmedMark)
			},
			want: append(slices.Clone(held), "fw02 restored"), kept: map[string]bool{"fw01": true}, drain: true,
			err: "node fw02 is kept drained, also when it is rebooted",
		},
		{
			name: "the active node is not confirmed",
			spoil: func(_ *duo, _ *Runner, node, script string) bool {
				return node == "fw01" && strings.Contains(script, ">"+confirmedMark)
			},
			want: append(slices.Clone(held), "fw01 restored", "fw02 released", "fw02 restored"),
			err:  "node fw01 went back to what it was",
		},
		{
			name: "the standby is sick afterwards",
			spoil: func(d *duo, _ *Runner, node, script string) bool {
				if node == "fw02" && strings.Contains(script, ">"+confirmedMark) {
					d.machines[node].write(d.t, "/etc/sick", "")
				}
				return false
			},
			want: append(slices.Clone(held), "fw02 released", "fw02 undrained"), kept: map[string]bool{"fw01": true, "fw02": true},
			err: "node fw02 is changed and confirmed, and so is fw01, but it could not take over within 3s:\n  health: it is sick (get well)",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDuo(t)
			d.together = "the language"
			r := d.runner()
			dial := r.Dial
			r.Dial = func(ctx context.Context, node string, fresh bool) (Conn, error) {
				if _, err := dial(ctx, node, fresh); err != nil {
					return nil, err
				}
				return spoiled{d.machines[node], func(script string) bool { return tt.spoil(d, r, node, script) }}, nil
			}
			sum, err := d.apply(r)
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "is left as it is") || sum.Changed < len(tt.kept) {
				t.Errorf("%+v, %v", sum, err)
			}
			d.happened(tt.want...)
			for _, node := range []string{"fw01", "fw02"} {
				if d.has(node, "/etc/a.conf") != tt.kept[node] || d.has(node, pendingMark) {
					t.Errorf("%s is not as it should be", node)
				}
			}
			if d.has("fw02", "/var/lib/fwprov/drain") != tt.drain {
				t.Errorf("fw02 is kept drained: %v", !tt.drain)
			}
		})
	}
}

// spoiled is a connection that is gone before some commands reach the node.
type spoiled struct {
	*machine
	gone func(script string) bool
}

func (s spoiled) Exec(ctx context.Context, cmd remote.Command) (remote.Result, error) {
	if s.gone(cmd.Script) {
		return remote.Result{}, errors.New("connection reset by peer")
	}
	return s.machine.Exec(ctx, cmd)
}

// TestInterruptWhenBothAreConfirmed: there is nothing left that could fail.
func TestInterruptWhenBothAreConfirmed(t *testing.T) {
	d := newDuo(t)
	d.together = "the language"
	ctx, cancel := context.WithCancel(context.Background())
	r := d.runner()
	done := 0
	r.Emit = func(e Event) {
		if e.Event == Waiting && d.has("fw01", confirmedMark) && d.has("fw02", confirmedMark) {
			d.machines["fw02"].write(t, "/etc/sick", "")
			cancel()
		}
		if e.Event == NodeDone {
			done++
		}
	}
	sum, err := r.Apply(ctx, r.Plan(ctx))
	if !errors.Is(err, context.Canceled) || sum.Changed != 2 || sum.Failed != 0 || done != 2 {
		t.Errorf("%+v, %d done, %v", sum, done, err)
	}
}

// TestLimit touches one node alone.
func TestLimit(t *testing.T) {
	for _, tt := range []struct {
		name, node, together string
		sick, cut, force     bool
		want                 []string
		err                  string
	}{
		{name: "the standby", node: "fw02", sick: true, want: []string{"fw02 changed"}},
		{name: "the active one", node: "fw01", want: []string{"fw01 drained by alice", "fw01 changed", "fw01 undrained"}},
		{name: "its peer is sick", node: "fw01", sick: true, err: "fw02 could not take over"},
		{name: "its peer is gone", node: "fw01", cut: true, err: "reach: "},
		{name: "its peer is gone, by force", node: "fw01", cut: true, force: true, want: []string{"fw01 changed"}},
		{name: "half of an agreement", node: "fw02", together: "the language", err: "all nodes have to agree on what would change (the language), and --limit leaves fw01 out"},
		{name: "half of an agreement, by force", node: "fw02", together: "the language", force: true, want: []string{"fw02 changed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDuo(t)
			d.together = tt.together
			peer := d.machines[other(tt.node)]
			if tt.sick {
				peer.write(t, "/etc/sick", "")
			}
			peer.cut = tt.cut
			r := d.runner(tt.node)
			r.Force = tt.force
			_, err := d.apply(r)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			d.happened(tt.want...)
		})
	}
}

// TestVIPsHaveMoved: a plan is for the node that held the traffic when it was
// made, whether the locks were taken before it or are taken now.
func TestVIPsHaveMoved(t *testing.T) {
	for _, locked := range []bool{false, true} {
		t.Run(fmt.Sprintf("locked before: %t", locked), func(t *testing.T) {
			d := newDuo(t)
			r := d.runner()
			if locked {
				if err := r.Lock(context.Background(), time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			p := r.Plan(context.Background())
			if err := os.Rename(d.machines["fw01"].root+"/etc/vip", d.machines["fw02"].root+"/etc/vip"); err != nil {
				t.Fatal(err)
			}
			_, err := r.Apply(context.Background(), p)
			if !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "node fw01: it was active and is standby now") {
				t.Errorf("error %v", err)
			}
			if kept := len(r.locks) == 2; kept != locked {
				t.Errorf("the locks are still held: %t", kept)
			}
			d.happened()
		})
	}
}

// TestVIPsMoveLate: a node that comes to hold the traffic while the plan is
// carried out is not changed as a standby.
func TestVIPsMoveLate(t *testing.T) {
	for _, together := range []string{"", "the language"} {
		d := newDuo(t)
		d.late, d.together = true, together
		sum, err := d.apply(d.runner())
		if err == nil || !strings.Contains(err.Error(), "node fw02: it was standby when the plan was made and holds the traffic now") || sum.Changed != 0 || sum.RolledBack {
			t.Errorf("together %q: %+v, %v", together, sum, err)
		}
		d.happened()
	}
}

func TestDrain(t *testing.T) {
	d := newDuo(t)
	ctx := context.Background()
	if err := d.runner().Drain(ctx, "fw01"); err != nil {
		t.Fatal(err)
	}
	d.happened("fw01 drained by alice")
	if !d.has("fw02", "/etc/vip") || !d.has("fw01", "/var/lib/fwprov/drain") {
		t.Error("fw01 is not drained")
	}
	var not *NotReadyError
	if err := d.runner().Drain(ctx, "fw02"); !errors.As(err, &not) || not.Within != 0 {
		t.Errorf("both drained: %v", err)
	}
	if err := d.runner("fw01").Undrain(ctx, "fw01"); err != nil {
		t.Fatal(err)
	}
	d.happened("fw01 drained by alice", "fw01 undrained")
	d.deaf = true
	err := d.runner().Drain(ctx, "fw02")
	if err == nil || !strings.Contains(err.Error(), "fw01 did not take over") || d.has("fw02", "/var/lib/fwprov/drain") {
		t.Errorf("a peer that does not take over: %v", err)
	}
	d.machines["fw02"].write(t, "/etc/sick", "")
	if err := d.runner("fw02").Undrain(ctx, "fw02"); !errors.As(err, &not) {
		t.Errorf("undrained while sick: %v", err)
	}
	if err := d.runner().Drain(ctx, "fw09"); err == nil {
		t.Error("a node that does not exist was drained")
	}
}
