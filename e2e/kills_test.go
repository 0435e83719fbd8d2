package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fwprov/e2e/lab"
	"fwprov/provision"
)

// killsEdits turn the inventory of the traffic tests into another one in which a
// VLAN has come, one has gone and one has got another network, a server and a
// service have come, and rules and time-outs have changed.
var killsEdits = []string{
	"vlan \"mgmt\" { id = 5 }\n", "vlan \"lab\" { id = 7 }\n",
	"network = \"10.10.9.0/24\"", "network = \"10.10.19.0/24\"",
	`server "two" { address = "10.10.2.2" }`, "server \"two\" { address = \"10.10.2.2\" }\n  server \"three\" { address = \"10.10.2.3\" }",
	"transparent = true", "transparent = true\n  timeouts { client = \"10m\" }",
	"tcp  = [7]", "tcp  = [7, 2222]",
	"allow \"routed\"", "service \"echo2\" {\n  port = 8\n  mode = \"tcp\"\n  server \"one\" {\n    address = \"10.10.2.1\"\n    port    = 7\n  }\n}\n\nallow \"routed\"",
}

// blow is a way in which a run ends that nobody wanted.
type blow struct {
	name   string
	images []string // the first one has all the moments of make test
	share  int      // of the moments: one in so many
	// strike cuts the run off and returns what has to be mended before it goes on.
	strike func(r *rig, run *exec.Cmd, node string) (mend func())
	within time.Duration // until nothing is pending any more
}

var blows = []blow{
	{"killed", []string{lab.EL, lab.Debian}, 1, (*rig).killRun, confirmTimeout + 8*time.Second},
	{"cut", []string{lab.Debian}, 10, (*rig).cutRun, confirmTimeout + 8*time.Second},
	{"power", []string{lab.EL}, 10, (*rig).cutPower, confirmTimeout + 15*time.Second}, // a boot among it
}

// TestKills ends runs at moments spread over them. Whatever the moment, each node
// is wholly as before or wholly as it was to be, within the time-out and by
// itself, and the next apply goes on from there. FWPROV_KILLS says how many times
// the program is killed, and a tenth as often the connection and the power are
// cut; FWPROV_SEED repeats the moments of another run.
func TestKills(t *testing.T) {
	t.Parallel()
	number := func(name string, otherwise uint64) uint64 {
		n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
		if err != nil {
			return otherwise
		}
		return n
	}
	seed := number("FWPROV_SEED", uint64(time.Now().UnixNano()))
	t.Logf("FWPROV_SEED=%d", seed)
	all := int(number("FWPROV_KILLS", 0))
	for i, b := range blows {
		moments, images := 5, b.images[:1]
		if all > 0 {
			images = b.images
			moments = max(all/b.share/len(images), 5)
		}
		for j, image := range images {
			t.Run(b.name+" "+image, func(t *testing.T) {
				t.Parallel()
				struckAll(t, b, image, rand.New(rand.NewPCG(seed, uint64(10*i+j))), moments)
			})
		}
	}
}

// struckAll strikes at so many moments, every tenth of them in an install.
func struckAll(t *testing.T, b blow, image string, draw *rand.Rand, moments int) {
	installs := max(moments/10, 1)
	var took time.Duration
	t.Run("edits", func(t *testing.T) { took = struckEdits(t, b, image, draw, moments-installs) })
	if took == 0 {
		return
	}
	for n := range installs {
		t.Run(fmt.Sprintf("install %d", n+1), func(t *testing.T) { struckInstall(t, b, image, draw, took) })
	}
}

// struckEdits strikes at applies that turn one inventory into the other and back. It
// returns how long the first install took.
func struckEdits(t *testing.T, b blow, image string, draw *rand.Rand, moments int) time.Duration {
	r := up(t, "kills-"+b.name+"-"+image, image, []byte(trafficInventory+"\nvlan \"mgmt\" { id = 5 }\nvlan \"guest\" {\n  id      = 9\n  network = \"10.10.9.0/24\"\n}\n"))
	install := r.timed()
	here, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(killsEdits); i += 2 {
		r.edit(killsEdits[i], killsEdits[i+1])
	}
	there, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	var states []map[string]string
	for _, src := range [][]byte{there, here} {
		r.write(src)
		took = append(took, r.timed())
		r.unchanged()
		states = append(states, r.states())
	}
	t.Logf("applies take %.1fs and %.1fs until all is confirmed", took[0].Seconds(), took[1].Seconds())

	always := r.always()
	traffic := always.send()
	inventories := [][]byte{there, here}
	for i := range moments {
		r.write(inventories[i%2])
		at := time.Duration(draw.Int64N(int64(took[i%2])))
		victim := r.pair.Nodes[draw.IntN(2)].Name
		before, after := states[1-i%2], states[i%2]
		patient := draw.IntN(4) == 0
		t.Logf("moment %d: %.2fs, %s", i+1, at.Seconds(), victim)
		r.struck(b, at, victim, patient, func(node string, _ bool) string {
			now := rebooted(r.state(node))
			was, is := differs(rebooted(before[node]), now), differs(rebooted(after[node]), now)
			if was == "" || is == "" {
				return ""
			}
			if len(is) < len(was) {
				return "neither as before nor as it was to be:\n" + is
			}
			return "neither as it was to be nor as before:\n" + was
		})
		always.pings()
		r.converge()
		for node, want := range after {
			if d := differs(rebooted(want), rebooted(r.state(node))); d != "" {
				t.Errorf("moment %d: the next apply leaves %s other than an undisturbed one:\n%s", i+1, node, d)
			}
		}
		if t.Failed() {
			break
		}
	}
	f := traffic.end()
	t.Logf("%d moments: %s", moments, f)
	if f.outage > 10*time.Second {
		t.Errorf("%s did not answer for %s", f.whom, f.outage)
	}
	return install
}

// struckInstall strikes at the first install of untouched machines. What packages
// bring may stay.
func struckInstall(t *testing.T, b blow, image string, draw *rand.Rand, took time.Duration) {
	r := up(t, "kills-"+b.name+"-"+image+"-new", image, []byte(trafficInventory))
	before := r.states()
	b.within += took // packages are installed to the end
	at := time.Duration(draw.Int64N(int64(took)))
	victim := r.pair.Nodes[draw.IntN(2)].Name
	t.Logf("install: %.2fs, %s", at.Seconds(), victim)
	r.struck(b, at, victim, false, func(node string, mended bool) string {
		if _, ours := r.try(node, "test -s /var/lib/fwprov/manifest"); !ours {
			return untouched(before[node], r.state(node), r.on(node, "grep -rl 'Managed by fwprov' /etc | grep -v fwprov-rollback-boot || true"))
		}
		if mended { // and it can be reached
			if left := r.plan().targets(node); len(left) > 0 {
				return fmt.Sprintf("has a manifest, but there is left to do: %q", left)
			}
		}
		return ""
	})
	r.converge()
	r.holder(10 * time.Second)
	r.pings()
}

// untouched says what of a fresh machine is not as it was, apart from what the
// packages have brought.
func untouched(before, now, ours string) string {
	a, b := sections(before), sections(now)
	for _, s := range []map[string][]string{a, b} {
		delete(s, "folders")
		delete(s, "files")
		delete(s, "contents")
		for i, u := range s["units"] {
			// a unit that there was not is as good as one that does not start
			for _, idle := range []string{" UnitFileState=disabled", " UnitFileState=masked", " UnitFileState="} {
				u = strings.TrimSuffix(u, idle)
			}
			s["units"][i] = u
		}
	}
	out := diffLines(a, b)
	if ours != "" {
		out = append(out, "files of ours: "+ours)
	}
	return strings.Join(out, "\n")
}

// timed applies, and tells how long it took until all nodes were confirmed.
func (r *rig) timed() time.Duration {
	r.t.Helper()
	start := time.Now()
	out, errs, code := r.run(nil, "apply", r.file, "--json")
	if code != 0 {
		r.t.Fatalf("apply: exit %d\n%s\n%s", code, out, errs)
	}
	last := start
	for _, e := range events(out) {
		if e.Event == provision.NodeDone && e.Time.After(last) {
			last = e.Time
		}
	}
	return last.Sub(start)
}

// struck applies, lets the blow fall, and holds every node to judge. What the blow
// has cut is mended when the nodes are at rest, or, if patient, when the run has
// given up.
func (r *rig) struck(b blow, at time.Duration, victim string, patient bool, judge func(node string, mended bool) string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	run := r.lab.AdminCommand(ctx, binary, "apply", r.file, "--confirm-timeout", confirmTimeout.String())
	var out bytes.Buffer
	run.Stdout, run.Stderr = &out, &out
	if err := run.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	time.Sleep(at) // the moment that was drawn
	mend := b.strike(r, run, victim)
	r.judged(b.name+": ", b.within, func(node string) string { return judge(node, false) })
	if patient {
		select {
		case err := <-ended:
			ended <- err
		case <-ctx.Done():
		}
	}
	mend()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			r.t.Logf("the run ended with %s", exit)
		} else if err != nil {
			r.t.Error(err)
		}
	case <-ctx.Done():
		r.t.Errorf("the run has not ended:\n%s", out.String())
	}
	r.judged(b.name+", and the run over: ", b.within, func(node string) string { return judge(node, true) })
	if r.t.Failed() {
		r.t.Logf("the run said:\n%s", out.String())
	}
}

// judged waits until nothing is under way on the nodes, and judges each.
func (r *rig) judged(when string, within time.Duration, judge func(node string) string) {
	r.t.Helper()
	r.eventually(within, when+"nothing is under way", r.underWay)
	for _, n := range r.pair.Nodes {
		if wrong := judge(n.Name); wrong != "" {
			log, _ := r.try(n.Name, "cat /run/fwprov/rollback.log")
			r.t.Errorf("%s%s is %s\nthe log of going back:\n%s", when, n.Name, wrong, log)
		}
	}
}

// underWay says what is pending on a node, or works there for a run.
func (r *rig) underWay() string {
	const look = `
for f in /var/lib/fwprov/rollback/pending /run/fwprov/going-back; do [ ! -e $f ] || echo $f; done
if read -r pid work </run/fwprov/step.pid && [ "$work" = "$(cut -d ' ' -f 5,22 /proc/$pid/stat)" ]; then echo step $pid; fi
pgrep -x 'apt-get|dpkg|dnf|rpm' && echo packages
exec 2>&1
systemctl is-system-running --wait | grep -E 'starting|initializing' || true
`
	var mu sync.Mutex
	var out []string
	var wg sync.WaitGroup
	for _, n := range r.pair.Nodes {
		wg.Go(func() {
			if said, ok := r.try(n.Name, "exec 3>&2 2>/dev/null\n"+look); !ok || said != "" {
				mu.Lock()
				defer mu.Unlock()
				out = append(out, n.Name+": "+strings.ReplaceAll(said, "\n", ", "))
			}
		})
	}
	wg.Wait()
	return strings.Join(out, "; ")
}

// converge applies undisturbed; after that there is nothing left to do.
func (r *rig) converge() {
	r.t.Helper()
	out, errs, code := r.run(nil, "apply", r.file, "--lock-timeout", "30s")
	if code != 0 {
		r.t.Fatalf("the next apply: exit %d\n%s\n%s", code, out, errs)
	}
	r.unchanged()
}

// killRun kills the program.
func (r *rig) killRun(run *exec.Cmd, _ string) func() {
	_ = run.Process.Kill()
	return func() {}
}

// cutRun lets the packets of the admin host vanish.
func (r *rig) cutRun(_ *exec.Cmd, _ string) func() {
	r.link(lab.Admin, false)
	return func() { r.link(lab.Admin, true) }
}

func (r *rig) link(host string, up bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.lab.Link(ctx, host, "eth0", up); err != nil {
		r.t.Fatal(err)
	}
}

// cutPower cuts the power of a node, and lets it boot at once.
func (r *rig) cutPower(_ *exec.Cmd, node string) func() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.lab.PowerCut(ctx, node); err != nil {
		r.t.Fatal(err)
	}
	if err := r.lab.PowerOn(ctx, node); err != nil {
		r.t.Fatal(err)
	}
	return func() {}
}
