package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fwprov/e2e/lab"
	"fwprov/inventories"
)

// vmVLANs is how many VLANs the trunk of the virtual machines carries.
const vmVLANs = 20

// vmService is what the guide's inventory gets more, so that a client can hold
// connections, through the service and routed to a server.
const vmService = `service "echo" {
  port        = 7
  mode        = "tcp"
  transparent = true

  server "one" { address = "10.10.2.11" }
  server "two" { address = "10.10.2.12" }
}

allow "routed" {
  from = "outside"
  to   = "inside"
  tcp  = [7]
  icmp = true
}

`

// TestVM has the guide's pair on virtual machines with a kernel of their own: over a
// real trunk, with 20 VLANs, through reboots, and with loss on the sync network; then
// the same pair in the default form.
func TestVM(t *testing.T) {
	if os.Getenv("FWPROV_VM") == "" {
		t.Skip("virtual machines take long: run make test-vm")
	}
	guide := string(inventories.Guide)
	const mail = "service \"smtp_ext\" {"
	if !strings.Contains(guide, mail) {
		t.Fatalf("the guide's inventory has no %q", mail)
	}
	src := strings.Replace(guide, mail, vmService+mail, 1)
	for id := 3; id < 2+vmVLANs; id++ {
		src += fmt.Sprintf("\nvlan \"floor%d\" { id = %[1]d }\n", id)
	}
	r := upOn(t, lab.Options{Name: "vm", Image: lab.Debian, Machine: lab.VM}, []byte(src))
	step := func(name string, do func(r *rig)) {
		if !t.Failed() {
			t.Run(name, func(t *testing.T) { do(r.with(t)) })
		}
	}
	step("guide", func(r *rig) {
		r.apply()
		r.serving()
		r.mail()
		r.tagged()
	})
	step("reboots", func(r *rig) { r.reboots() })
	step("loss", func(r *rig) { r.losses(false) })
	step("default form", func(r *rig) {
		r.defaultForm()
		r.apply()
		r.serving()
	})
	step("reboots of the default form", func(r *rig) { r.reboots() })
	step("loss on the default form", func(r *rig) { r.losses(true) })
}

// serving fails the test unless the pair is healthy, every VIP answers, and a client
// notices nothing of a rerun that finds nothing to do.
func (r *rig) serving() {
	r.t.Helper()
	r.healthy()
	r.pingsFrom(lab.Client) // the nodes have pinged them for verify
	f := r.few().during("a rerun", func() {
		if out := r.ends(0, "apply", r.file); !strings.Contains(out, "No changes") {
			r.t.Errorf("a rerun does not say that there are no changes:\n%s", out)
		}
	})
	if len(f.broken)+len(f.failed) > 0 {
		r.t.Errorf("a rerun was noticed: %s\n%q", f, f.failed)
	}
}

// few is the rig with the first VLAN only: an emulated machine is not to be kept busy
// with pings of all others.
func (r *rig) few() *rig {
	pair := *r.pair
	pair.VLANs = pair.VLANs[:1]
	c := *r
	c.pair = &pair
	return &c
}

// tagged fails the test unless each node has every VLAN as an interface of 802.1q, and
// a host in each VLAN reaches its gateway and the client beyond it.
func (r *rig) tagged() {
	r.t.Helper()
	for _, n := range r.pair.Nodes {
		have := r.on(n.Name, "ip -d -o link show type vlan")
		for _, v := range r.pair.VLANs {
			if !strings.Contains(have, fmt.Sprintf("vlan protocol 802.1Q id %d ", v.ID)) {
				r.t.Errorf("%s has no interface of VLAN %d:\n%s", n.Name, v.ID, have)
			}
		}
	}
	for _, v := range r.pair.VLANs[1:] {
		r.eventually(5*time.Second, v.Name+" reaches its gateway", func() string {
			if out, ok := r.try(v.Name, "ping -n -c 1 -W 1 "+v.VIP.String()); !ok {
				return out
			}
			return ""
		})
	}
}

// reboots reboots one node after the other under traffic: the pair serves on, and is
// whole again without a run.
func (r *rig) reboots() {
	for _, n := range r.pair.Nodes {
		active := r.holder(time.Minute)
		w := r.sight()
		f := r.few().during("reboot of "+n.Name, func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			defer cancel()
			start := time.Now()
			if err := r.lab.Reboot(ctx, n.Name); err != nil {
				r.t.Fatal(err)
			}
			r.t.Logf("%s rebooted in %.1fs", n.Name, time.Since(start).Seconds())
			r.heals()
		})
		seen := w.end()
		r.t.Logf("reboot of %s, %s active: %s", n.Name, active, seen)
		most := 0
		if n.Name == active {
			most = 1
		}
		if seen.moved > most {
			r.t.Errorf("reboot of %s, %s active: the VIPs moved %d times", n.Name, active, seen.moved)
		}
		// Its SSH ends before it gives up the VIPs: what counts is what the client sees.
		if limit := r.takeover(); f.outage > limit {
			r.t.Errorf("reboot of %s: one address did not answer for %s, at most %s: %s", n.Name, seconds(f.outage), seconds(limit), f)
		}
		if r.routed(f) {
			r.t.Errorf("reboot of %s: the routed connection is broken: %s", n.Name, f)
		}
		r.unchanged()
	}
}

// takeover is how long a VIP may not answer: three adverts and the skew, which
// is less than one, and a second for machines that are emulated side by side.
func (r *rig) takeover() time.Duration {
	return 4*r.pair.VRRP.AdvertInterval + time.Second
}

// heals waits until the pair is healthy without a run.
func (r *rig) heals() {
	r.t.Helper()
	r.eventually(5*time.Minute, "healthy without a run", func() string {
		if out, errs, code := r.run(nil, "verify", r.file); code != 0 {
			return out + errs
		}
		return ""
	})
}

// losses lets the sync network lose packets, in both directions. Where the VIPs are to
// stay they must; otherwise what is seen is told.
func (r *rig) losses(stay bool) {
	const lasts = time.Minute
	for _, loss := range []string{"1%", "10%"} {
		active := r.holder(time.Minute)
		w := r.sight()
		f := r.few().during(loss+" loss on the sync network", func() {
			for _, n := range r.pair.Nodes {
				r.on(n.Name, "tc qdisc add dev "+r.pair.Sync.Interface+" root netem loss "+loss)
			}
			time.Sleep(lasts) // loss is looked at for its time, whatever comes of it
			for _, n := range r.pair.Nodes {
				r.t.Logf("%s: %s", n.Name, r.on(n.Name, "tc -s qdisc show dev "+r.pair.Sync.Interface))
				r.on(n.Name, "tc qdisc del dev "+r.pair.Sync.Interface+" root")
			}
		})
		seen := w.end()
		r.t.Logf("%s loss on the sync network for %s, %s active: %s", loss, lasts, active, seen)
		if stay && (seen.moved > 0 || seen.none > 0 || seen.two > 0) {
			r.t.Errorf("%s loss: the VIPs did not stay: %s", loss, seen)
		}
		if stay && len(f.broken)+len(f.failed) > 0 {
			r.t.Errorf("%s loss was noticed: %s\n%q", loss, f, f.failed)
		}
		r.heals()
	}
}

// defaultForm takes the guide's own form of VRRP and of the state's replication out of
// the inventory. The timers are those for virtual machines: an emulated one stalls.
func (r *rig) defaultForm() {
	r.t.Helper()
	src, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	text := string(src)
	for _, opens := range []string{"\nvrrp {\n", "\nstate_sync {\n"} {
		before, rest, found := strings.Cut(text, opens)
		_, after, closed := strings.Cut(rest, "\n}\n")
		if !found || !closed {
			r.t.Fatalf("the inventory has no %q", opens)
		}
		text = before + after
	}
	r.writeSync([]byte(text + "\nvrrp { profile = \"vm\" }\n"))
}

// sight watches who holds outside.vip, as the nodes tell it over SSH while it changes.
// A node whose connection ends holds nothing, until it can be asked again.
type sight struct {
	r    *rig
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	since time.Time
	holds map[string]bool // by node
	seen  sighted
}

// sighted is what was seen.
type sighted struct {
	none, two time.Duration // nobody, or both, held it
	moved     int
	last      string // the last who held it
}

func (s sighted) String() string {
	return fmt.Sprintf("no holder %s, two holders %s, moved %d times", seconds(s.none), seconds(s.two), s.moved)
}

// sight begins to watch, once every node has told.
func (r *rig) sight() *sight {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &sight{r: r, stop: stop, holds: map[string]bool{}}
	r.t.Cleanup(stop)
	told := make(chan string, len(r.pair.Nodes))
	for _, n := range r.pair.Nodes {
		s.wg.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				s.follow(ctx, n.Name, func() {
					if first {
						told <- n.Name
					}
				})
				s.saw(n.Name, false)
			}
		})
	}
	for range r.pair.Nodes {
		select {
		case <-told:
		case <-time.After(30 * time.Second):
			r.t.Fatal("the nodes do not tell who holds the VIP")
		}
	}
	s.mu.Lock()
	s.since, s.seen = time.Now(), sighted{last: s.seen.last}
	s.mu.Unlock()
	return s
}

// follow reads what one node tells, until its connection ends. told is called when it
// has told all that it has.
func (s *sight) follow(ctx context.Context, node string, told func()) {
	// The list comes after the watch has begun: nothing between the two is missed.
	cmd, err := s.r.lab.Command(ctx, node, "sh", "-c",
		"ip -4 -o monitor address & sleep 0.5; ip -4 -o address show; echo told; wait")
	if err != nil {
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	vip := " " + s.r.pair.Outside.VIP.String() + "/"
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "told":
			told()
		case strings.Contains(line, vip):
			s.saw(node, !strings.HasPrefix(line, "Deleted "))
		}
	}
	_ = cmd.Wait() // that it ended is all there is to know
}

// saw is that a node holds the VIP from now on, or does not.
func (s *sight) saw(node string, holds bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally(time.Now())
	s.holds[node] = holds
	if holds && node != s.seen.last {
		s.seen.moved++
		s.seen.last = node
	}
}

// tally counts the time since it was last called. The caller holds mu.
func (s *sight) tally(now time.Time) {
	n := 0
	for _, held := range s.holds {
		if held {
			n++
		}
	}
	switch n {
	case 0:
		s.seen.none += now.Sub(s.since)
	case 2:
		s.seen.two += now.Sub(s.since)
	}
	s.since = now
}

// end stops the watch and tells what was seen.
func (s *sight) end() sighted {
	s.mu.Lock()
	s.tally(time.Now())
	seen := s.seen
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return seen
}
