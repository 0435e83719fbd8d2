package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fwprov/e2e/lab"
	"fwprov/inventories"
)

// TestGuide takes the guide's pair from nothing through its life, on each image.
func TestGuide(t *testing.T) {
	t.Parallel()
	for _, image := range []string{lab.Debian, lab.EL} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			r := up(t, "guide-"+image, image, inventories.Guide)
			r.fromNothing()
			r.mail()
			t.Run("edits", func(t *testing.T) { r.with(t).guideEdits() })
			t.Run("hand edits", func(t *testing.T) { r.with(t).handEdits() })
			t.Run("failover", func(t *testing.T) { r.with(t).failover(6 * time.Second) })
			t.Run("reboot", func(t *testing.T) { r.with(t).reboot() })
			r.mail()
		})
	}
}

// TestMinimal does the same with every default.
func TestMinimal(t *testing.T) {
	t.Parallel()
	for _, image := range []string{lab.Debian, lab.EL} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			r := up(t, "minimal-"+image, image, inventories.Minimal)
			r.fromNothing()
			t.Run("checkers", func(t *testing.T) { r.with(t).checkers() })
			t.Run("vlans", func(t *testing.T) { r.with(t).vlans() })
			t.Run("hand edits", func(t *testing.T) { r.with(t).handEdits() })
			t.Run("failover", func(t *testing.T) { r.with(t).failover(3 * time.Second) })
			t.Run("reboot", func(t *testing.T) { r.with(t).reboot() })
		})
	}
}

// TestBareMachines applies where no firewall runs: nothing tracks connections
// before our rules do, and the connection that loads them must survive it.
func TestBareMachines(t *testing.T) {
	t.Parallel()
	r := up(t, "bare-debian", lab.Debian, inventories.Minimal)
	for _, n := range r.pair.Nodes {
		r.on(n.Name, "systemctl disable --now firewalld")
	}
	r.apply()
	r.holder(5 * time.Second)
}

// with is the rig in a subtest.
func (r *rig) with(t *testing.T) *rig {
	c := *r
	c.t = t
	t.Cleanup(func() { r.pair = c.pair })
	return &c
}

// fromNothing applies to the untouched machines, and again.
func (r *rig) fromNothing() {
	r.t.Helper()
	for _, n := range r.pair.Nodes {
		if out, ok := r.try(n.Name, "command -v keepalived conntrackd haproxy"); ok {
			r.t.Fatalf("%s has daemons before the first apply: %s", n.Name, out)
		}
	}
	r.watchRules()
	r.apply()
	r.holder(5 * time.Second)
	r.pings()
	before := map[string][2]int{}
	for _, n := range r.pair.Nodes {
		c, e := r.logins(n.Name)
		before[n.Name] = [2]int{c, e}
	}
	out, errs, code := r.run(nil, "apply", r.file)
	if code != 0 {
		r.t.Fatalf("second apply: exit %d\n%s\n%s", code, out, errs)
	}
	if !strings.Contains(out+errs, "No changes") {
		r.t.Errorf("a second apply does not say that there are no changes:\n%s\n%s", out, errs)
	}
	for _, n := range r.pair.Nodes {
		c, e := r.logins(n.Name)
		if got, want := [2]int{c, e}, [2]int{before[n.Name][0] + 1, before[n.Name][1] + 1}; got != want {
			r.t.Errorf("%s: a rerun took %d connections and %d commands, want 1 and 1", n.Name, got[0]-before[n.Name][0], got[1]-before[n.Name][1])
		}
	}
	r.rulesNeverOpen()
}

// watchRules starts to look, on both nodes, for a moment without rules: with
// firewalld gone and no filter of ours.
func (r *rig) watchRules() {
	r.t.Helper()
	const watch = `while sleep 0.02; do
	n=$(nft list ruleset 2>/dev/null | grep -c -e 'policy drop' -e 'table inet firewalld')
	[ "$n" != 0 ] || echo open >>/run/watch.open
	echo >>/run/watch.looks
done`
	for _, n := range r.pair.Nodes {
		r.on(n.Name, "systemd-run --quiet --unit=watch-rules sh -c '"+strings.ReplaceAll(watch, "'", `'\''`)+"'")
	}
}

func (r *rig) rulesNeverOpen() {
	r.t.Helper()
	for _, n := range r.pair.Nodes {
		r.on(n.Name, "systemctl stop watch-rules")
		if r.on(n.Name, "wc -l </run/watch.looks") == "0" {
			r.t.Errorf("%s: the rules were never looked at", n.Name)
		}
		if out, open := r.try(n.Name, "grep -c open /run/watch.open"); open {
			r.t.Errorf("%s: stood without rules at %s looks of the install", n.Name, out)
		}
	}
}

// mail sends a mail from the client to the VIP; a server must see the client's
// own address.
func (r *rig) mail() {
	r.t.Helper()
	mark := fmt.Sprintf("mark-%d", time.Now().UnixNano())
	r.eventually(40*time.Second, "a mail goes through the VIP", func() string { return r.sendMail(mark) })
	r.eventually(10*time.Second, "the mail arrives with the client's address", func() string {
		mail := r.pair.Services[slices.IndexFunc(r.pair.Services, func(s inventories.Service) bool { return s.Port == 25 })]
		for _, s := range mail.Servers {
			box, err := r.lab.Mail(s.Name)
			if err != nil {
				continue
			}
			if strings.Contains(string(box), mark) {
				if !strings.Contains(string(box), "203.0.113.10") {
					return "no Received header with 203.0.113.10 in " + string(box)
				}
				return ""
			}
		}
		return "no mailbox has it"
	})
}

// sendMail sends a mail whose body is mark, and says what went wrong.
func (r *rig) sendMail(mark string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := r.lab.Dial(ctx, "client", "tcp", r.pair.Outside.VIP.String()+":25")
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	c, err := smtp.NewClient(conn, "client.example.com")
	if err != nil {
		return err.Error()
	}
	if err := errors.Join(c.Mail("user@example.com"), c.Rcpt("all@example.com")); err != nil {
		return err.Error()
	}
	w, err := c.Data()
	if err != nil {
		return err.Error()
	}
	if _, err := fmt.Fprintf(w, "Subject: test\r\n\r\n%s\r\n", mark); err != nil {
		return err.Error()
	}
	if err := errors.Join(w.Close(), c.Quit()); err != nil {
		return err.Error()
	}
	return ""
}

// wants compares what is planned for a node with want.
func (r *rig) wants(node string, want []string) {
	r.t.Helper()
	if d := cmp.Diff(want, r.plan().targets(node)); d != "" {
		r.t.Fatalf("plan of %s (-want +got):\n%s", node, d)
	}
}

// failover stops the active keepalived, and later cuts the active node's power.
func (r *rig) failover(within time.Duration) {
	r.t.Helper()
	first := r.holder(5 * time.Second)
	second := r.pair.Peer(first).Name
	r.on(first, "systemctl stop keepalived")
	if got := r.holder(within); got != second {
		r.t.Fatalf("%s holds the VIPs after keepalived of %s was stopped", got, first)
	}
	r.pings()
	r.on(first, "systemctl start keepalived")
	r.healthy()
	if got := r.holder(within); got != second {
		r.t.Errorf("%s took the VIPs back: it should have come back as standby", got)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := r.lab.PowerCut(ctx, second); err != nil {
		r.t.Fatal(err)
	}
	r.eventually(within+4*time.Second, first+" holds all VIPs after the power cut", func() string {
		if h := r.holders(); h[first] != len(r.pair.VIPs()) {
			return fmt.Sprint(h)
		}
		return ""
	})
	if out, ok := r.try("client", "ping -n -c 1 -W 1 "+r.pair.Outside.VIP.String()); !ok {
		r.t.Errorf("the VIP does not answer: %s", out)
	}
	if err := r.lab.PowerOn(ctx, second); err != nil {
		r.t.Fatal(err)
	}
	if err := r.lab.WaitSSH(ctx, second); err != nil {
		r.t.Fatal(err)
	}
	r.healthy()
	if got := r.holder(within); got != first {
		r.t.Errorf("%s took the VIPs back after its power came back", got)
	}
	r.unchanged()
}

// reboot reboots both nodes at once: the pair must be healthy without a run.
func (r *rig) reboot() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	errs := make(chan error, 2)
	for _, n := range r.pair.Nodes {
		go func() { errs <- r.lab.Reboot(ctx, n.Name) }()
	}
	for range r.pair.Nodes {
		if err := <-errs; err != nil {
			r.t.Fatal(err)
		}
	}
	for _, n := range r.pair.Nodes {
		if err := r.lab.WaitSSH(ctx, n.Name); err != nil {
			r.t.Fatal(err)
		}
	}
	r.healthy()
	r.pings()
	r.unchanged()
}
