package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fwprov/e2e/lab"
)

// benchInventory is a pair with so many VLANs and services, the first VLAN with the
// servers.
func benchInventory(vlans, services int) []byte {
	src := strings.Split(trafficInventory, "vlan \"office\"")[0]
	src += manyVLANs(2, vlans)
	for i := range services {
		src += fmt.Sprintf("service \"s%d\" {\n  port = %d\n  mode = \"tcp\"\n  transparent = true\n  server \"one\" { address = \"10.10.2.1\" }\n  server \"two\" { address = \"10.10.2.2\" }\n}\n", i, 8000+i)
	}
	return []byte(src)
}

// contender is a way to do something, which is timed.
type contender struct {
	name  string
	run   func() time.Duration
	times []time.Duration
}

// race runs the contenders in turn, so often, and tabulates their medians and how
// many times as long each took as the first, round by round.
func race(t *testing.T, what string, rounds int, list ...*contender) {
	t.Helper()
	for range rounds {
		for _, c := range list {
			c.times = append(c.times, c.run())
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | median | times %s |\n| --- | --- | --- |\n", what, list[0].name)
	for _, c := range list {
		ratios := make([]float64, rounds)
		for i := range ratios {
			ratios[i] = c.times[i].Seconds() / list[0].times[i].Seconds()
		}
		fmt.Fprintf(&b, "| %s | %.2fs | %.2f |\n", c.name, median(c.times).Seconds(), median(ratios))
	}
	t.Logf("%d rounds\n%s", rounds, b.String())
}

func median[T float64 | time.Duration](of []T) T {
	s := slices.Sorted(slices.Values(of))
	return s[len(s)/2]
}

// TestBench compares fwprov with what else does the job, in one run on one machine:
// what counts are the ratios. FWPROV_BENCH is how many rounds.
func TestBench(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("FWPROV_BENCH"))
	if err != nil || rounds < 1 {
		t.Skip("a comparison takes long: run make bench")
	}
	t.Run("rerun", func(t *testing.T) { benchRerun(t, rounds) })
	t.Run("VLANs", func(t *testing.T) { benchVLANs(t, rounds) })
	t.Run("changes", func(t *testing.T) { benchChanges(t, rounds) })
	t.Run("install", func(t *testing.T) { benchInstall(t, rounds) })
}

func benchRerun(t *testing.T, rounds int) {
	r := up(t, "bench", lab.EL, benchInventory(20, 5))
	r.apply()
	r.holder(20 * time.Second)
	play := r.playbook(r.harvest())
	play(false)() // modes and folders that are not fwprov's business
	list := []*contender{
		{name: "two bare ssh", run: r.bareSSH("")},
		{name: "fwprov plan", run: r.timedRun("plan", r.file)},
		{name: "fwprov apply", run: r.timedRun("apply", r.file)},
		{name: "ansible, pipelining", run: play(false)},
	}
	if _, err := os.Stat(mitogenPlugins); err == nil {
		list = append(list, &contender{name: "ansible, mitogen", run: play(true)})
	} else {
		t.Log("without mitogen: there is no ansible-mitogen here")
	}
	race(t, "rerun, 20 VLANs, 5 services", rounds, list...)
	l := r.stretch(100 * time.Millisecond)
	race(t, "rerun over 100 ms", rounds,
		&contender{name: "two bare ssh", run: r.bareSSH(l.config)},
		&contender{name: "fwprov plan", run: r.timedRun("plan", "--ssh-config", l.config, r.file)})
}

func benchVLANs(t *testing.T, rounds int) {
	one := up(t, "bench-one", lab.EL, benchInventory(1, 5))
	one.apply()
	many := up(t, "bench-many", lab.EL, benchInventory(250, 5))
	many.apply()
	race(t, "rerun by VLANs", rounds,
		&contender{name: "1 VLAN", run: one.timedRun("plan", one.file)},
		&contender{name: "250 VLANs", run: many.timedRun("plan", many.file)})
}

func benchChanges(t *testing.T, rounds int) {
	r := up(t, "bench-change", lab.EL, benchInventory(20, 5))
	r.apply()
	r.holder(20 * time.Second)
	two := benchInventory(20, 5)
	for _, c := range []struct {
		what  string
		other []byte
	}{
		{"one changed file", bytes.Replace(two, []byte("server \"two\" {"), []byte("server \"three\" { address = \"10.10.2.3\" }\n  server \"two\" {"), 1)},
		{"one VLAN more or less", benchInventory(21, 5)},
	} {
		// Both states, as fwprov makes them, for Ansible to bring back and forth.
		plays := make([]func() time.Duration, 2)
		for i, src := range [][]byte{c.other, two} {
			r.writeSync(src)
			r.apply()
			plays[i] = r.playbook(r.harvest())(false)
			plays[i]()
		}
		n, m := 0, 0
		race(t, c.what, rounds,
			&contender{name: "two bare ssh", run: r.bareSSH("")},
			&contender{name: "fwprov apply", run: func() time.Duration {
				r.writeSync([][]byte{c.other, two}[n%2])
				n++
				return r.timedRun("apply", r.file)()
			}},
			&contender{name: "ansible, pipelining", run: func() time.Duration {
				m++
				return plays[m%2]() // back to where it was
			}},
			&contender{name: "fwprov puts it right", run: func() time.Duration { return r.timedRun("apply", r.file)() }})
	}
}

func benchInstall(t *testing.T, rounds int) {
	var files string
	var list [][2]string
	fresh := func(do func(r *rig) time.Duration) func() time.Duration {
		return func() (d time.Duration) {
			t.Run("fresh", func(t *testing.T) { d = do(up(t, "bench-install", lab.EL, benchInventory(20, 5))) })
			return d
		}
	}
	r := up(t, "bench-model", lab.EL, benchInventory(20, 5))
	r.apply()
	files, list = r.harvest()
	race(t, "first install", rounds,
		&contender{name: "shell script", run: fresh(func(r *rig) time.Duration { return r.script(files, "") })},
		&contender{name: "shell script, until the VIP answers", run: fresh(func(r *rig) time.Duration {
			return r.script(files, "until ping -n -q -c 1 -W 1 "+r.pair.Outside.VIP.String()+" >/dev/null; do sleep 0.1; done\n")
		})},
		&contender{name: "fwprov apply", run: fresh(func(r *rig) time.Duration { return r.timedRun("apply", r.file)() })},
		&contender{name: "ansible, pipelining", run: fresh(func(r *rig) time.Duration { return r.playbook(files, list)(false)() })})
}

// timedCommand times a command of the admin host, which must succeed.
func (r *rig) timedCommand(cmd *exec.Cmd) time.Duration {
	r.t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		r.t.Fatalf("%v: %v\n%s", cmd.Args, err, out.Bytes())
	}
	return took
}

func (r *rig) timedRun(args ...string) func() time.Duration {
	return func() time.Duration {
		cmd := r.lab.AdminCommand(context.Background(), binary, args...)
		cmd.Env = append(cmd.Env, "FWPROV_VAR_vrrp_password="+password)
		took := r.timedCommand(cmd)
		if peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; peak > maxResident {
			r.t.Errorf("fwprov %s took %d KiB of memory, at most %d", strings.Join(args, " "), peak, maxResident)
		}
		return took
	}
}

// maxResident is how much memory fwprov may take for one pair, in KiB.
const maxResident = 40 << 10

// bareSSH is what a rerun is measured by.
func (r *rig) bareSSH(config string) func() time.Duration {
	if config == "" {
		config = filepath.Join(r.lab.Home(), ".ssh", "config")
	}
	return func() time.Duration {
		script := fmt.Sprintf("ssh -F %s %s true & a=$!; ssh -F %[1]s %[3]s true & b=$!; wait $a && wait $b", config, r.pair.Nodes[0].Name, r.pair.Nodes[1].Name)
		return r.timedCommand(r.lab.AdminCommand(context.Background(), "sh", "-c", script))
	}
}

// harvest takes the files that fwprov has put on both nodes, with their modes, for the
// others to put there. It returns the folder and, for the first node, mode and path.
func (r *rig) harvest() (dir string, files [][2]string) {
	r.t.Helper()
	dir = filepath.Join(r.t.TempDir(), "files")
	for i, n := range r.pair.Nodes {
		root := filepath.Join(dir, n.Name)
		if err := os.MkdirAll(root, 0o700); err != nil {
			r.t.Fatal(err)
		}
		const list = "{ sed -n 's/^file\t\\([^\t]*\\)\t.*/\\1/p' /var/lib/fwprov/manifest; echo /etc/conntrackd/primary-backup.sh; } | "
		archive := filepath.Join(root, "..", n.Name+".tar")
		text := r.on(n.Name, list+"tar -C / -T - -cf - 2>/dev/null | base64 -w 0")
		data, err := base64.StdEncoding.DecodeString(text)
		if err == nil {
			err = os.WriteFile(archive, data, 0o600)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if out, err := exec.Command("tar", "-C", root, "-xf", archive).CombinedOutput(); err != nil {
			r.t.Fatalf("%v: %s", err, out)
		}
		if i > 0 {
			continue
		}
		for line := range strings.Lines(r.on(n.Name, list+"xargs stat -c '0%a %n'")) {
			mode, path, _ := strings.Cut(strings.TrimSpace(line), " ")
			files = append(files, [2]string{mode, path})
		}
	}
	return dir, files
}

// script installs by a shell script over ssh, both nodes side by side. The files are
// in archives of dir. Then the commands of then are run.
func (r *rig) script(dir, then string) time.Duration {
	r.t.Helper()
	install, err := filepath.Abs("bench/install.sh")
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, n := range r.pair.Nodes {
		fmt.Fprintf(&b, "ssh -F %s/.ssh/config %s \"$(cat %s)\" <%s/%[2]s.tar & pids=\"$pids $!\"\n", r.lab.Home(), n.Name, install, dir)
	}
	b.WriteString("for p in $pids; do wait $p || exit 1; done\n" + then)
	return r.timedCommand(r.lab.AdminCommand(context.Background(), "sh", "-c", b.String()))
}

// playbook prepares the job for Ansible, and returns what runs it, with mitogen if
// asked.
func (r *rig) playbook(files string, list [][2]string) func(mitogen bool) func() time.Duration {
	r.t.Helper()
	dir := filepath.Dir(files)
	book, err := os.ReadFile("bench/playbook.yml")
	if err != nil {
		r.t.Fatal(err)
	}
	for name, content := range map[string]string{
		"playbook.yml":             string(book),
		"group_vars/firewalls.yml": groupVars(list),
		"hosts": fmt.Sprintf("[firewalls]\n%s\n%s\n[firewalls:vars]\nansible_user=root\nansible_python_interpreter=/usr/bin/python3\n",
			r.pair.Nodes[0].Name, r.pair.Nodes[1].Name),
		"ansible.cfg": fmt.Sprintf("[defaults]\ninventory = hosts\nforks = 10\n[ssh_connection]\npipelining = True\nssh_args = -F %s/.ssh/config -o ControlMaster=auto -o ControlPersist=60s\ncontrol_path_dir = %s/cp\n", r.lab.Home(), dir),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	return func(mitogen bool) func() time.Duration {
		return func() time.Duration {
			cmd := r.lab.AdminCommand(context.Background(), "ansible-playbook", "playbook.yml")
			cmd.Dir = dir
			cmd.Env = append(cmd.Env, "ANSIBLE_CONFIG="+filepath.Join(dir, "ansible.cfg"))
			if mitogen {
				cmd.Env = append(cmd.Env, "ANSIBLE_STRATEGY_PLUGINS="+mitogenPlugins, "ANSIBLE_STRATEGY=mitogen_linear")
			}
			return r.timedCommand(cmd)
		}
	}
}

// mitogenPlugins is where Debian's ansible-mitogen has them.
const mitogenPlugins = "/usr/lib/python3/dist-packages/ansible_mitogen/plugins/strategy"

// groupVars tells the playbook which files there are.
func groupVars(list [][2]string) string {
	lists := map[string][]string{"folders": {"/run/fwprov", "/var/lib/fwprov"}} // keepalived looks for files there
	for _, f := range list {
		mode, p := f[0], f[1]
		kind := "others"
		switch {
		case strings.HasPrefix(p, "/etc/NetworkManager/"):
			kind = "networks"
		case strings.HasPrefix(p, "/etc/sysctl.d/"):
			kind = "sysctls"
		case strings.HasPrefix(p, "/etc/systemd/"):
			kind = "units"
		case strings.HasPrefix(p, "/etc/sysconfig/ip"):
			kind = "rules"
		case strings.HasSuffix(p, ".sh"):
			kind = "scripts"
		}
		lists[kind] = append(lists[kind], fmt.Sprintf("{path: %q, mode: %q}", p, mode))
		if name := filepath.Base(p); strings.HasPrefix(name, "fwprov-") && (strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".socket")) && !strings.Contains(name, "@") {
			lists["own_units"] = append(lists["own_units"], name)
		}
		// Those of units: packages bring the others.
		if dir := filepath.Dir(p); strings.HasSuffix(dir, ".service.d") && !slices.Contains(lists["folders"], dir) {
			lists["folders"] = append(lists["folders"], dir)
		}
	}
	var b strings.Builder
	for _, name := range []string{"folders", "networks", "sysctls", "units", "scripts", "rules", "others", "own_units"} {
		if len(lists[name]) == 0 {
			fmt.Fprintf(&b, "%s: []\n", name)
			continue
		}
		fmt.Fprintf(&b, "%s:\n", name)
		for _, p := range lists[name] {
			fmt.Fprintf(&b, "  - %s\n", p)
		}
	}
	b.WriteString("modes:\n")
	for _, f := range list {
		fmt.Fprintf(&b, "  %q: %q\n", f[1], f[0])
	}
	return b.String()
}
