package fleet

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// roleVar makes this program something else than a test: the server of a fleet, or
// a client that only logs in. What is measured runs in a process of its own.
const roleVar = "FWPROV_FLEET_ROLE"

func TestMain(m *testing.M) {
	role := strings.Fields(os.Getenv(roleVar))
	var err error
	switch {
	case len(role) == 0:
		os.Exit(m.Run())
	case role[0] == "serve":
		err = serve(role[1], role[2], role[3])
	case role[0] == "bare":
		err = bare(role[1], role[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve serves a fleet until its standard input ends.
func serve(home, nodes, unreachable string) error {
	var o Options
	var err error
	if o.Nodes, err = strconv.Atoi(nodes); err != nil {
		return err
	}
	if o.Unreachable, err = strconv.Atoi(unreachable); err != nil {
		return err
	}
	f, err := Start(home, o)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// bare logs in to every node that known_hosts has and runs true there: what no
// client of that library can do without.
func bare(home, parallel string) error {
	n, err := strconv.Atoi(parallel)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(home, ".ssh", "id_ed25519"))
	if err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	known, err := os.ReadFile(filepath.Join(home, ".ssh", "known_hosts"))
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	places := make(chan struct{}, n)
	errs := make(chan error, 1)
	for line := range strings.Lines(string(known)) {
		words := strings.Fields(line)
		_, _, hostKey, _, _, err := ssh.ParseKnownHosts([]byte(line))
		if err != nil {
			return err
		}
		host, port, err := net.SplitHostPort(words[0])
		if err != nil {
			return err
		}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := login(net.JoinHostPort(host, port), key, hostKey); err != nil {
				select {
				case errs <- err:
				default:
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func login(addr string, key ssh.Signer, hostKey ssh.PublicKey) error {
	c, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.FixedHostKey(hostKey), HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}, Timeout: time.Minute,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	return s.Run("true")
}

// usage is what a program took.
type usage struct {
	wall, cpu time.Duration
	peak      float64 // MB
}

// measured runs a program and returns what it took and printed.
func measured(t testing.TB, cmd *exec.Cmd) (usage, string, string, int) {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	r := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return usage{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), float64(r.Maxrss) / 1024},
		out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// rig is a fleet that is served by a process of its own, and fwprov.
type rig struct {
	t      testing.TB
	home   string
	binary string
	files  []string
}

// build makes the program as make build does.
func build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "fwprov")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", binary, "fwprov/cmd/fwprov")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build fwprov: %v\n%s", err, out)
	}
	return binary
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{t: t, home: t.TempDir(), binary: build(t)}
	server := r.self("serve", r.home, strconv.Itoa(o.Nodes), strconv.Itoa(o.Unreachable))
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = server.Wait() // it was ended
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the fleet does not start: %q, %v", line, err)
	}
	if r.files, err = filepath.Glob(filepath.Join(r.home, "inventories", "*.hcl")); err != nil {
		t.Fatal(err)
	}
	return r
}

// self is this program in another role.
func (r *rig) self(role ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVar+"="+strings.Join(role, " "))
	return cmd
}

func (r *rig) fwprov(args ...string) *exec.Cmd {
	cmd := exec.Command(r.binary, slices.Concat(args, r.files)...)
	cmd.Env = []string{"HOME=" + r.home, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// A plan of simulated pairs connects to every node, and finds nothing to do: so the
// recording is one of this fwprov. Of a pair one node of which is silent that is said.
func TestFleet(t *testing.T) {
	r := newRig(t, Options{Nodes: 12})
	_, out, errs, code := measured(t, r.fwprov("plan", "--json"))
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	nodes := 0
	for line := range strings.Lines(out) {
		var doc struct {
			Changes int
			Nodes   []struct{ Role string }
		}
		if err := json.Unmarshal([]byte(line), &doc); err != nil || doc.Changes != 0 {
			t.Errorf("%v: %s", err, line)
		}
		nodes += len(doc.Nodes)
		if doc.Nodes[0].Role != "active" && doc.Nodes[1].Role != "active" {
			t.Errorf("nobody is active in %s", line)
		}
	}
	if nodes != 12 {
		t.Errorf("%d nodes were looked at", nodes)
	}
	if _, out, errs, code := measured(t, r.fwprov("plan")); code != 0 || out != "No changes. 6 pairs are as the inventories say.\n" || errs != "" {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// The program is one file that needs no other, and small.
func TestBinary(t *testing.T) {
	binary := build(t)
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it is linked to others: %v", p.Type)
		}
	}
	info, err := os.Stat(binary)
	if err != nil || info.Size() >= 20<<20 {
		t.Errorf("%v, %v bytes", err, info.Size())
	}
	if os.Getenv("FWPROV_BENCH") == "" {
		return
	}
	var runs []usage
	for range 21 {
		u, out, errs, code := measured(t, exec.Command(binary, "version"))
		if code != 0 || out == "" {
			t.Fatal(errs)
		}
		runs = append(runs, u)
	}
	u := median(runs)
	fmt.Printf("binary: %.1f MB, fwprov version in %.1f ms\n", float64(info.Size())/(1<<20), u.wall.Seconds()*1000)
	if u.wall >= 20*time.Millisecond {
		t.Errorf("fwprov version took %s", u.wall)
	}
}

// The recording has no secret in it.
func TestNoSecretRecorded(t *testing.T) {
	for _, name := range []string{"fw01", "fw02"} {
		text, err := testdata.ReadFile("testdata/" + name + ".probe")
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`(?i)passw|auth_pass|PRIVATE KEY|ssh-(rsa|ed25519)`).FindString(string(text)); m != "" {
			t.Errorf("%s: %s", name, m)
		}
	}
}

// TestBench measures fwprov on fleets of several sizes, beside a client that only
// logs in. It runs with FWPROV_BENCH set: make bench-fleet.
func TestBench(t *testing.T) {
	if os.Getenv("FWPROV_BENCH") == "" {
		t.Skip("it takes minutes: make bench-fleet, or set FWPROV_BENCH=1")
	}
	fmt.Println("nodes   wall     CPU     CPU a node  bare login  beyond it   peak")
	for _, nodes := range []int{10, 100, 1000, 2000, 5000} {
		t.Run(strconv.Itoa(nodes), func(t *testing.T) { benchFleet(t, nodes) })
	}
}

func benchFleet(t *testing.T, nodes int) {
	r := newRig(t, Options{Nodes: nodes})
	var runs, logins []usage
	for range 3 {
		u, out, errs, code := measured(t, r.fwprov("plan"))
		if code != 0 || !strings.HasPrefix(out, "No changes.") {
			t.Fatalf("%d nodes: exit code %d\n%s%s", nodes, code, out, errs)
		}
		b, _, errs, code := measured(t, r.self("bare", r.home, "128"))
		if code != 0 {
			t.Fatalf("bare login: %s", errs)
		}
		runs, logins = append(runs, u), append(logins, b)
	}
	u, b := median(runs), median(logins)
	each := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(nodes) }
	fmt.Printf("%5d %6.2f s %6.2f s %8.2f ms %8.2f ms %8.2f ms %5.0f MB\n", nodes, u.wall.Seconds(), u.cpu.Seconds(),
		each(u.cpu), each(b.cpu), each(u.cpu-b.cpu), u.peak)
	if nodes == 2000 && (each(u.cpu-b.cpu) >= 20 || u.peak >= 1024) {
		t.Errorf("%d nodes: more than 20 ms of CPU a node beyond the login, or more than 1 GB", nodes)
	}
}

// TestBenchFailures plans 2,000 nodes ten times without a failure, and once with 20
// of them silent, which costs no more than their connect timeout in all.
func TestBenchFailures(t *testing.T) {
	if os.Getenv("FWPROV_BENCH") == "" {
		t.Skip("it takes minutes: make bench-fleet, or set FWPROV_BENCH=1")
	}
	r := newRig(t, Options{Nodes: 2000})
	var runs []usage
	for i := range 10 {
		u, out, errs, code := measured(t, r.fwprov("plan"))
		if code != 0 || errs != "" {
			t.Errorf("run %d: exit code %d\n%s%s", i+1, code, out, errs)
		}
		runs = append(runs, u)
	}
	plain := median(runs).wall
	fmt.Printf("2000 nodes, ten times: median %.2f s, no failure\n", plain.Seconds())
	gone := newRig(t, Options{Nodes: 2000, Unreachable: 20})
	var costs []usage
	for range 3 { // in pairs, since the machine has other work
		without, _, _, _ := measured(t, r.fwprov("plan"))
		u, out, errs, code := measured(t, gone.fwprov("plan"))
		if n := strings.Count(errs, "no answer within 15s"); code != 1 || n != 20 || !strings.Contains(out, "20 nodes of 20 pairs could not be planned") {
			t.Errorf("exit code %d, %d nodes without an answer\n%s%s", code, n, out, errs)
		}
		costs = append(costs, usage{wall: u.wall - without.wall})
	}
	cost := median(costs).wall
	fmt.Printf("20 of them unreachable: %.2f s more\n", cost.Seconds())
	if cost > 15*time.Second+plain/10 { // no two runs take the same time
		t.Errorf("20 unreachable nodes cost %s", cost)
	}
}

// median is that of each figure.
func median(all []usage) usage {
	mid := func(get func(usage) float64) float64 {
		var v []float64
		for _, u := range all {
			v = append(v, get(u))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return usage{
		time.Duration(mid(func(u usage) float64 { return float64(u.wall) })),
		time.Duration(mid(func(u usage) float64 { return float64(u.cpu) })),
		mid(func(u usage) float64 { return u.peak }),
	}
}
