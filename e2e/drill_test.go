package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fwprov/e2e/lab"
)

// drilled is what drill --json prints.
type drilled struct {
	State     string
	Notes     []string
	Exercises []struct {
		Way, Node, Peer  string
		Begin, Down, End time.Time
		Floor            float64 `json:"floor_seconds"`
		Election         float64 `json:"election_seconds"`
		Took             bool    `json:"took_over"`
		Whole            bool
		None             struct{ Seconds float64 }                 `json:"no_holder"`
		Two              struct{ Seconds float64 }                 `json:"two_holders"`
		Sticky           []struct{ Service, Before, After string } `json:"stick_tables"`
		Probes           []struct {
			From, Kind, Target string
			Every              float64 `json:"every_seconds"`
			Sent, Lost         int
			Longest            float64 `json:"longest_outage_seconds"`
		}
		Lines []struct {
			Kind, Target, Broken string
			At                   *time.Time `json:"broken_at"`
			Longest              float64    `json:"longest_stall_seconds"`
		} `json:"connections"`
	}
}

// TestDrill fails a pair over in every way and compares what drill says of it with
// what tcpdump has seen pass beside it.
func TestDrill(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("tcpdump"); err != nil && os.Getenv("FWPROV_E2E") != "" {
		t.Fatal("the observer is tcpdump: run make setup")
	}
	src := strings.Replace(trafficInventory, "transparent = true\n", "transparent = true\n  sticky      = \"10m\"\n", 1)
	r := up(t, "drill", lab.Debian, []byte(src))
	r.apply()
	r.healthy()
	r.holder(10 * time.Second)

	t.Run("figures", func(t *testing.T) { r.with(t).figures() })
	t.Run("asked", func(t *testing.T) { r.with(t).drillAsked() })
	t.Run("interrupted", func(t *testing.T) { r.with(t).drillInterrupted() })
	t.Run("killed", func(t *testing.T) {
		for _, way := range []string{"drain", "keepalived", "interfaces"} {
			t.Run(way, func(t *testing.T) { r.with(t).drillKilled(way) })
		}
	})
	t.Run("unwell", func(t *testing.T) { r.with(t).drillUnwell() })
}

// figures compares drill's with those of tcpdump: they may differ by two intervals
// of the probes and 20 ms.
func (r *rig) figures() {
	page := filepath.Join(r.t.TempDir(), "drill.html")
	seen := r.observe("admin")
	out, errs, code := r.run(nil, "drill", r.file, "--json", "--by", "drain,keepalived,interfaces", "--from", "fw02", "--report", page)
	packets := seen()
	if code != 0 {
		r.t.Fatalf("drill: exit %d\n%s\n%s", code, out, errs)
	}
	if !strings.Contains(errs, "through HAProxy break") {
		r.t.Errorf("it was not said what it costs:\n%s", errs)
	}
	var d drilled
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		r.t.Fatalf("drill --json: %v in %s", err, out)
	}
	if d.State != "healthy" || len(d.Exercises) != 3 || len(d.Notes) > 0 {
		r.t.Fatalf("%s after %d exercises; %q", d.State, len(d.Exercises), d.Notes)
	}
	for _, e := range d.Exercises {
		in := packets.between(e.Begin, e.End)
		if !e.Took || !e.Whole || e.Two.Seconds > 0 {
			r.t.Errorf("%s: took over %t, whole %t, two holders %.3fs", e.Way, e.Took, e.Whole, e.Two.Seconds)
		}
		if none := e.None.Seconds; none < e.Floor-0.05 || none > e.Election+0.5 {
			r.t.Errorf("%s: nobody held the VIPs for %.3fs, the timers allow %.3fs to %.3fs", e.Way, none, e.Floor, e.Election)
		}
		pinged := 0
		for _, p := range e.Probes {
			if p.From != "here" || p.Kind != "ping" {
				continue
			}
			pinged++
			lost, outage := in.pings(p.Target)
			r.agree(e.Way+": ping "+p.Target, p.Longest, outage, p.Every)
			if lost != p.Lost {
				r.t.Errorf("%s: ping %s: %d lost, tcpdump says %d", e.Way, p.Target, p.Lost, lost)
			}
		}
		if pinged != len(r.pair.VIPs()) || len(e.Probes) != 2*pinged+2 {
			r.t.Errorf("%s: %d probes, %d of them pings from here", e.Way, len(e.Probes), pinged)
		}
		for _, l := range e.Lines {
			switch l.Kind {
			case "routed":
				if l.Broken != "" {
					r.t.Errorf("%s: the routed connection broke: %s", e.Way, l.Broken)
				}
				r.agree(e.Way+": routed "+l.Target, l.Longest, in.stall(l.Target), 0.02)
			case "proxied":
				reset := in.reset(l.Target, e.Down)
				if l.At == nil || reset.IsZero() {
					r.t.Errorf("%s: the proxied connection broke at %v, tcpdump has a reset at %v", e.Way, l.At, reset)
					break
				}
				r.agree(e.Way+": proxied "+l.Target+" broken", l.At.Sub(e.Down).Seconds(), reset.Sub(e.Down), 0.02)
			}
		}
		if len(e.Lines) != 2 {
			r.t.Errorf("%s: %d connections were held", e.Way, len(e.Lines))
		}
		if len(e.Sticky) != 1 || e.Sticky[0].Before == "" || e.Sticky[0].Before != e.Sticky[0].After {
			r.t.Errorf("%s: stick tables %+v", e.Way, e.Sticky)
		}
	}
	r.selfContained(page)
}

// agree compares a figure of drill's, in seconds, with the observer's. What is below
// 50 ms drill calls none.
func (r *rig) agree(what string, drill float64, observer time.Duration, interval float64) {
	r.t.Helper()
	r.t.Logf("%s: drill %.3fs, tcpdump %.3fs", what, drill, observer.Seconds())
	if drill == 0 && observer < 50*time.Millisecond {
		return
	}
	if apart := drill - observer.Seconds(); max(apart, -apart) > 2*interval+0.02 {
		r.t.Errorf("%s: drill says %.3fs, tcpdump %.3fs", what, drill, observer.Seconds())
	}
}

// selfContained fails the test if a page needs anything from elsewhere.
func (r *rig) selfContained(file string) {
	r.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	if n := strings.Count(string(text), "<svg "); n != 6 {
		r.t.Errorf("the page has %d drawings", n)
	}
	for _, word := range []string{"<script", "<link", " src=", " href=", "@import", "url("} {
		if strings.Contains(string(text), word) {
			r.t.Errorf("the page has %q", word)
		}
	}
}

// packet is one that tcpdump has seen.
type packet struct {
	at       time.Time
	src, dst string // with the port, of TCP
	what     string
}

type packets []packet

var packetLine = regexp.MustCompile(`^([0-9]+)\.([0-9]{6}) IP ([0-9.]+) > ([0-9.]+): (.*)$`)

// observe lets tcpdump watch a host until the returned function is called, which
// tells what passed.
func (r *rig) observe(host string) func() packets {
	r.t.Helper()
	h, err := r.lab.Host(host)
	if err != nil {
		r.t.Fatal(err)
	}
	// A switch that does not know where a node is lets everybody see what is for it.
	own := "host " + h.Links[0].Addr.Addr().String() + " and (icmp or tcp port 7)"
	cmd, err := r.lab.Command(context.Background(), host, "tcpdump", "-n", "-tt", "-i", "eth0", "-B", "16384", own)
	if err != nil {
		r.t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() packets {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			r.t.Fatalf("tcpdump: %v\n%s", err, errs.String())
		}
		if !strings.Contains(errs.String(), "\n0 packets dropped by kernel") {
			r.t.Errorf("tcpdump has not seen all:\n%s", errs.String())
		}
		var all packets
		for line := range strings.Lines(out.String()) {
			m := packetLine.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			sec, _ := strconv.ParseInt(m[1], 10, 64) // the expression has digits only
			micro, _ := strconv.ParseInt(m[2], 10, 64)
			all = append(all, packet{time.Unix(sec, micro*1000), m[3], m[4], m[5]})
		}
		return all
	}
}

// between are the packets of a time, with a moment for the last answers.
func (p packets) between(from, to time.Time) packets {
	var out packets
	for _, x := range p {
		if x.at.After(from) && x.at.Before(to.Add(300*time.Millisecond)) {
			out = append(out, x)
		}
	}
	return out
}

// pings tells how many requests to an address had no answer, and the longest time
// from a request that had none until any answer.
func (p packets) pings(addr string) (lost int, outage time.Duration) {
	open := map[string]bool{}
	var since time.Time
	for _, x := range p {
		id, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(x.what, "ICMP echo request, "), "ICMP echo reply, "), ", length")
		switch {
		case x.dst == addr && strings.HasPrefix(x.what, "ICMP echo request"):
			open[id] = true
			if since.IsZero() {
				since = x.at
			}
		case x.src == addr && strings.HasPrefix(x.what, "ICMP echo reply"):
			delete(open, id)
			if !since.IsZero() {
				outage = max(outage, x.at.Sub(since))
			}
			since = time.Time{}
		}
	}
	return len(open), outage
}

// stall is the longest time from when something was sent to a server until
// something came from it.
func (p packets) stall(target string) (longest time.Duration) {
	server := dotted(target)
	var since time.Time
	for _, x := range p {
		said := !strings.HasSuffix(x.what, "length 0")
		switch {
		case said && x.dst == server && since.IsZero():
			since = x.at
		case said && x.src == server && !since.IsZero():
			longest = max(longest, x.at.Sub(since))
			since = time.Time{}
		}
	}
	return longest
}

// reset is when a server refused to go on for the first time.
func (p packets) reset(target string, after time.Time) time.Time {
	for _, x := range p {
		if x.src == dotted(target) && strings.HasPrefix(x.what, "Flags [R") && x.at.After(after) {
			return x.at
		}
	}
	return time.Time{}
}

// dotted is ADDRESS:PORT as tcpdump writes it.
func dotted(target string) string { return strings.Replace(target, ":", ".", 1) }

// taken starts a drill and returns when the VIPs have moved.
func (r *rig) taken(way, down string) (run *exec.Cmd, node string) {
	r.t.Helper()
	node = r.holder(5 * time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	r.t.Cleanup(cancel)
	run = r.lab.AdminCommand(ctx, binary, "drill", r.file, "--by", way, "--down", down)
	run.Env = append(run.Env, "FWPROV_VAR_vrrp_password="+password)
	if err := run.Start(); err != nil {
		r.t.Fatal(err)
	}
	peer := r.pair.Peer(node).Name
	r.eventually(time.Minute, peer+" holds the VIPs", func() string {
		if h := r.holders(); h[peer] != len(r.pair.VIPs()) {
			return fmt.Sprint(h)
		}
		return ""
	})
	return run, node
}

// drillAsked does not say yes.
func (r *rig) drillAsked() {
	active := r.holder(5 * time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	run := r.lab.AdminCommand(ctx, binary, "drill", r.file)
	run.Env = append(run.Env, "FWPROV_VAR_vrrp_password="+password)
	term := onTerminal(r.t, run)
	term.expect("Connections through HAProxy break each time")
	term.expect("Begin?")
	term.enter("y")
	if code := term.wait(); code != 1 || !strings.Contains(term.text(), "not confirmed; nothing was taken down") {
		r.t.Errorf("exit %d:\n%s", code, term.text())
	}
	if now := r.holder(time.Second); now != active {
		r.t.Errorf("%s holds the VIPs", now)
	}
}

// drillInterrupted ends a drill while a node is down: it is put back at once.
func (r *rig) drillInterrupted() {
	run, node := r.taken("keepalived", "60s")
	if err := run.Process.Signal(os.Interrupt); err != nil {
		r.t.Fatal(err)
	}
	_ = run.Wait()
	if code := run.ProcessState.ExitCode(); code != 130 {
		r.t.Errorf("exit %d", code)
	}
	r.backUp(node, time.Second)
	r.healthy()
}

// drillKilled kills a drill while a node is down: it puts itself back.
func (r *rig) drillKilled(way string) {
	run, node := r.taken(way, "2s")
	if err := run.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = run.Wait()
	r.backUp(node, 30*time.Second)
	r.healthy()
	r.unchanged()
}

// backUp waits until nothing of an outage is left on a node.
func (r *rig) backUp(node string, within time.Duration) {
	r.t.Helper()
	r.eventually(within, node+" has put itself back", func() string {
		out, _ := r.try(node, "ls /run/fwprov/outage/pending /run/fwprov/drain 2>/dev/null; systemctl is-active keepalived; systemctl list-timers --no-legend 'fwprov-outage-*'")
		if out != "active" {
			return out
		}
		return ""
	})
}

// drillUnwell lets a drill find a pair that is not healthy, and one that is locked.
func (r *rig) drillUnwell() {
	active := r.holder(5 * time.Second)
	standby := r.pair.Peer(active).Name
	r.ends(0, "drain", r.file, standby)
	if out := r.ends(3, "drill", r.file); !strings.Contains(out, "Nothing was taken down") || !strings.Contains(out, "drained by root") {
		r.t.Errorf("it is not said why:\n%s", out)
	}
	r.ends(0, "undrain", r.file, standby)
	run, _ := r.taken("drain", "10s")
	r.ends(5, "drill", r.file)
	if err := run.Wait(); err != nil {
		r.t.Errorf("the drill that had the lock: %v", err)
	}
	r.healthy()
}
