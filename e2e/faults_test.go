package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fwprov/e2e/lab"
)

// fault is something that is wrong with a machine. Whatever it is, a run that
// meets it says so, changes nothing that stays, and the pair serves on.
type fault struct {
	what   string
	breaks string   // sh, on the node
	mends  string   // sh, on the node
	edit   []string // what is to be changed; nil: a rule, a VLAN and a server
	code   int
	words  []string // what the operator reads
	slips  []string // what they read where a connection slips in, and the next does not: the node goes back
}

// someEdit changes what every step has to do with.
var someEdit = []string{
	"vlan \"mgmt\" { id = 5 }\n", "vlan \"mgmt\" { id = 5 }\nvlan \"lab\" { id = 7 }\n",
	`server "two" { address = "10.10.2.2" }`, "server \"two\" { address = \"10.10.2.2\" }\n  server \"three\" { address = \"10.10.2.3\" }",
	"tcp  = [7]", "tcp  = [7, 2222]",
}

// full mounts a file system on a folder that has what the folder had, and so many
// KiB more.
func full(dir string, kib int) string {
	return fmt.Sprintf(`mkdir /run/full && cp -a %[1]s/. /run/full/ && used=$(du -sk /run/full | cut -f 1)
mount -t tmpfs -o size=$((used + %[2]d))k,mode=755 full %[1]s && cp -a /run/full/. %[1]s/ && rm -rf /run/full
dd if=/dev/zero of=%[1]s/filler bs=1024 count=$(($(df -Pk --output=avail %[1]s | tail -n 1) - %[2]d)) 2>/dev/null || true`, dir, kib)
}

// empty undoes it. keepalived runs a script out of /etc every second: what is in use
// cannot be unmounted.
func empty(dir string) string {
	return fmt.Sprintf("n=0; until umount %s 2>/dev/null || [ $n -ge 100 ]; do sleep 0.1; n=$((n + 1)); done; ! mountpoint -q %[1]s", dir)
}

// runningFaults befall the standby of a pair that serves.
var runningFaults = []fault{
	{
		what: "a full disk", breaks: full("/etc", 64), mends: empty("/etc"), code: 1,
		words: []string{"/etc has only", "KiB free", "it takes 10 MiB"},
	},
	{
		what: "a disk that is full when the snapshot is made", breaks: full("/var/lib/fwprov", 8), mends: empty("/var/lib/fwprov"), code: 1,
		words: []string{"No space left on device"},
	},
	{
		what: "a disk that is full when a file is put in place", breaks: full("/etc/keepalived", 0), mends: empty("/etc/keepalived"), code: 4,
		words: []string{"step keepalived", "/etc/keepalived/keepalived.conf", "No space left on device", "went back to what it was"},
	},
	{
		what: "a read-only /etc", breaks: "mount --bind /etc /etc && mount -o remount,ro,bind /etc", mends: empty("/etc"), code: 1,
		words: []string{"/etc cannot be written", "remount,rw"},
	},
	{
		what: "a clock that is a day off", code: 1,
		// The nodes of the lab have the clock of the machine: what tells the time lies.
		breaks: `cp /usr/bin/stat /run/stat && printf '#!/bin/sh\n/run/stat "$@" | awk "/proc.self.stat/ { \\$1 += 90000 } 1"\n' >/run/liar && chmod 755 /run/liar && mount --bind /run/liar /usr/bin/stat`,
		mends:  "umount /usr/bin/stat",
		words:  []string{"its clock is 2", "h ahead of that of the machine fwprov runs on", "NTP"},
	},
	{
		what: "a script that others may write to", breaks: "chmod 0777 /etc/conntrackd", mends: "chmod 0755 /etc/conntrackd", code: 1,
		words: []string{"step keepalived failed", "/etc/conntrackd can be written to by others than root"},
	},
	{
		what: "a checker that refuses the file", code: 1,
		breaks: `cp /usr/sbin/haproxy /run/haproxy.real && printf '#!/bin/sh\ncase " $* " in *" -c "*) echo "[ALERT] parsing [$3:12]: unknown keyword" >&2; exit 1 ;; esac\nexec /run/haproxy.real "$@"\n' >/run/liar && chmod 755 /run/liar && mount --bind /run/liar /usr/sbin/haproxy`,
		mends:  "umount /usr/sbin/haproxy",
		words:  []string{"step haproxy failed, nothing of it was put in place", "unknown keyword"},
	},
	{
		what: "a unit that does not start", code: 4,
		// conntrackd is restarted, and finds a folder where it wants to write.
		breaks: "systemctl stop conntrackd && rm -f /run/conntrackd.ctl && mkdir -p /run/conntrackd.ctl/in-the-way",
		mends:  "rm -rf /run/conntrackd.ctl && systemctl reset-failed conntrackd && systemctl start conntrackd",
		words:  []string{"step services", "conntrackd.service", "went back to what it was"},
	},
	{
		what: "a port that is taken", code: 4,
		breaks: taken("192.168.1.10", 8), mends: "systemctl stop taken",
		edit:  []string{"allow \"routed\"", "service \"echo2\" {\n  port = 8\n  mode = \"tcp\"\n  server \"one\" {\n    address = \"10.10.2.1\"\n    port    = 7\n  }\n}\n\nallow \"routed\""},
		words: []string{"haproxy", "192.168.1.10:8", "went back to what it was"},
	},
	{
		what: "a full table of connections", code: 1,
		breaks: fillIt, mends: emptyIt,
		words: []string{"no answer within", "is SSH let through", "table of connections"},
		slips: []string{"went back to what it was", "is SSH let through", "table of connections"},
	},
}

// fillIt fills the table of connections, emptyIt undoes it.
const (
	fillIt = "cat >/run/fill.py <<'END'\n" + fillTable + `END
systemd-run --quiet --unit=fill python3 /run/fill.py
n=0
until [ -e /run/filled ] || [ $n -ge 600 ]; do sleep 0.1; n=$((n + 1)); done
[ -e /run/filled ]`
	emptyIt = "systemctl stop fill; conntrack -F 2>/dev/null; rm /run/fill.py /run/filled"
)

// fillTable makes connections, by netlink, until the kernel has no room for more,
// and again as soon as it has: connections of others come to an end. None of ours
// can be dropped in favour of another, and none is told the peer.
const fillTable = `import socket, struct, time
def attr(kind, data): return struct.pack("HH", len(data) + 4, kind) + data + b"\0" * (-len(data) % 4)
def nest(kind, *parts): return attr(kind | 0x8000, b"".join(parts))
def flow(kind, src, dst, sport, dport):
    ports = attr(1, b"\x11"), attr(2, struct.pack(">H", sport)), attr(3, struct.pack(">H", dport))
    return nest(kind, nest(1, attr(1, src), attr(2, dst)), nest(2, *ports))
def read(name): return int(open("/proc/sys/net/netfilter/nf_conntrack_" + name).read())
rest = attr(3, struct.pack(">I", 0xe)) + attr(7, struct.pack(">I", 3600))
def entry(n):
    a, b, port = bytes((127, n // 15360000, n // 60000 % 256, 1)), bytes((127, 1, 0, 1)), 1024 + n % 60000
    m = struct.pack("BBH", 2, 0, 0) + flow(1, a, b, port, 9) + flow(2, b, a, 9, port) + rest
    return struct.pack("IHHII", len(m) + 16, 0x100, 0x401, 0, 0) + m
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
kernel.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
n, most = 0, read("max")
while True:
    room = most - read("count")
    if room > 0:
        room = min(room, 200)
        kernel.send(b"".join(entry(i) for i in range(n, n + room)))
        n += room
    else:
        open("/run/filled", "w")
        time.sleep(0.001)
`

// taken lets somebody else listen on a port.
func taken(addr string, port int) string {
	return fmt.Sprintf(`systemd-run --quiet --unit=taken python3 -c 'import socket, time
s = socket.socket()
s.setsockopt(socket.SOL_IP, 15, 1)
s.bind(("%s", %d))
s.listen()
time.sleep(3600)'
for _ in 1 2 3 4 5 6 7 8 9 10; do ss -Hltn 'sport = :%[2]d' | grep -q . && break; sleep 0.2; done
ss -Hltn 'sport = :%[2]d' | grep -q .`, addr, port)
}

// TestFaults breaks machines in every way that comes to mind.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, image := range []string{lab.EL, lab.Debian} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			r := up(t, "faults-"+image, image, []byte(trafficInventory+"\nvlan \"mgmt\" { id = 5 }\n"))
			if image == lab.EL {
				r.freshFaults(elFaults)
				r.install(true)
				r.faults(runningFaults)
			} else {
				r.freshFaults(debianFaults)
				r.install(false)
			}
			r.shrugged()
		})
	}
}

// faults lets each of them befall the standby while a client's traffic runs.
func (r *rig) faults(list []fault) {
	always := r.always()
	for _, f := range list {
		standby := r.pair.Peer(r.holder(10 * time.Second)).Name
		edit := f.edit
		if edit == nil {
			edit = someEdit
		}
		back := r.change(edit...)
		felt := always.during(f.what, func() { r.befall(f, standby) })
		if felt.lost > 0 || len(felt.broken) > 0 || len(felt.failed) > 0 {
			r.t.Errorf("%s: the client noticed: %s", f.what, felt)
		}
		back()
		r.unchanged()
	}
}

// always is the pair as far as it is there whatever a test edits.
func (r *rig) always() *rig {
	a := &rig{t: r.t, lab: r.lab, file: filepath.Join(r.t.TempDir(), "always.hcl"), long: r.long}
	a.write([]byte(trafficInventory))
	return a
}

// befall applies with the fault on the nodes, and compares what stays.
func (r *rig) befall(f fault, nodes ...string) {
	r.t.Helper()
	for _, n := range nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		res, err := r.lab.Exec(ctx, n, "sh", "-c", "set -e\n"+f.breaks)
		cancel()
		if err != nil || res.Code != 0 {
			r.t.Fatalf("%s on %s: %v, status %d\n%s%s", f.what, n, err, res.Code, res.Stdout, res.Stderr)
		}
		defer r.on(n, f.mends)
	}
	before := r.states()
	out, errs, code := r.run(nil, "apply", r.file, "--confirm-timeout", "30s")
	if code == 4 && f.slips != nil {
		f.code, f.words = 4, f.slips
	}
	if code != f.code {
		r.t.Errorf("%s: exit %d, want %d\n%s%s", f.what, code, f.code, out, errs)
	}
	for _, w := range f.words {
		if !strings.Contains(errs, w) {
			r.t.Errorf("%s: the error has no %q:\n%s", f.what, w, errs)
		}
	}
	if wrong := r.underWay(); wrong != "" {
		r.t.Errorf("%s: still under way: %s", f.what, wrong)
	}
	if f.code != 0 {
		r.same(f.what, before)
	}
}

// freshFaults befall both untouched machines. Nothing of the pair is there yet.
func (r *rig) freshFaults(list []fault) {
	for _, f := range list {
		r.befall(f, "fw01", "fw02")
	}
}

// notPermanent is lost when firewalld is stopped and started.
var notPermanent = fault{
	what: "a port that firewalld has open for the time being", code: 1,
	breaks: "firewall-cmd -q --add-port=2299/tcp", mends: "firewall-cmd -q --remove-port=2299/tcp",
	words: []string{"settings that are not permanent", "firewall-cmd --runtime-to-permanent"},
}

const closed = "http://127.0.0.1:9/" // nobody listens there

var elFaults = []fault{
	notPermanent,
	{
		what: "a repository that cannot be reached", code: 1,
		breaks: "cp /etc/yum.repos.d/lab.repo /run/ && sed -i 's|^baseurl=.*|baseurl=" + closed + "|' /etc/yum.repos.d/lab.repo",
		mends:  "cp /run/lab.repo /etc/yum.repos.d/",
		words:  []string{"step packages", "Failed to download metadata for repo", "repomd.xml"},
	},
	{
		what: "another package manager at work", code: 1,
		breaks: "systemd-run --quiet --unit=other sleep 600 && systemctl show -p MainPID other | tr -dc 0-9 >/var/cache/dnf/metadata_lock.pid",
		mends:  "systemctl stop other; rm -f /var/cache/dnf/metadata_lock.pid",
		words:  []string{"step packages", "already locked by", "another package manager has held its lock"},
	},
}

var debianFaults = []fault{
	notPermanent,
	{
		what: "a repository that cannot be reached", code: 1,
		breaks: "cp /etc/apt/sources.list /run/ && echo 'deb [trusted=yes] " + closed + " ./' >/etc/apt/sources.list",
		mends:  "cp /run/sources.list /etc/apt/ && apt-get update -qq",
		words:  []string{"step packages", "Could not connect to 127.0.0.1:9", "Unable to locate package keepalived"},
	},
	{
		what: "another package manager at work", code: 1,
		breaks: `systemd-run --quiet --unit=other python3 -c 'import fcntl, time
f = open("/var/lib/dpkg/lock-frontend", "a+")
fcntl.lockf(f, fcntl.LOCK_EX)
time.sleep(600)' && sleep 1`,
		mends: "systemctl stop other",
		words: []string{"step packages", "lock", "another package manager has held its lock"},
	},
	{
		what: "an installed version that is too old", code: 1,
		breaks: installed("1.2.13"), mends: "dpkg --purge keepalived >/dev/null 2>&1",
		words: []string{"keepalived 1.2.13 is older than 1.3.5", "upgrade the distribution"},
	},
}

// installed installs the keepalived that there is under another version.
func installed(version string) string {
	return `cd /run && rm -rf k && dpkg-deb -R /srv/packages/keepalived_*.deb k && sed -i 's/^Version: .*/Version: 1:` + version + `-1/' k/DEBIAN/control &&
dpkg-deb -b k k.deb >/dev/null 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --allow-downgrades ./k.deb >/dev/null 2>&1 && rm -rf k k.deb`
}

// install takes the pair from nothing to what the inventory says, at the second
// attempt: at the first a unit does not start, and firewalld has to come back,
// with never a moment without rules. Where another version of a package is
// installed, it stays.
func (r *rig) install(watched bool) {
	nodes := []string{"fw01", "fw02"}
	if r.lab.Topology().SSH.Port == 0 {
		r.t.Fatal("no lab")
	}
	const version = "2.2.4"
	if !watched {
		r.on("fw01", "set -e\n"+installed(version))
	}
	r.watchRules()
	before := r.states()
	f := fault{what: "a unit that does not start at the first install", breaks: taken("0.0.0.0", 1347), mends: "systemctl stop taken", code: 4,
		words: []string{"step services", "haproxy.service", "went back to what it was"}}
	for _, n := range nodes {
		r.on(n, "set -e\n"+f.breaks)
	}
	out, errs, code := r.run(nil, "apply", r.file, "--confirm-timeout", "30s")
	if code != f.code {
		r.t.Errorf("%s: exit %d\n%s%s", f.what, code, out, errs)
	}
	for _, w := range f.words {
		if !strings.Contains(errs, w) {
			r.t.Errorf("%s: the error has no %q:\n%s", f.what, w, errs)
		}
	}
	for _, n := range nodes {
		ours := r.on(n, "grep -rl 'Managed by fwprov' /etc | grep -v fwprov-rollback-boot || true")
		if wrong := untouched(before[n], r.state(n), ours); wrong != "" {
			log, _ := r.try(n, "cat /run/fwprov/rollback.log")
			r.t.Errorf("%s: %s is not as before:\n%s\n%s", f.what, n, wrong, log)
		}
		if out := r.on(n, "firewall-cmd --state; firewall-cmd --list-services"); !strings.Contains(out, "running") || !strings.Contains(out, "ssh") {
			r.t.Errorf("firewalld of %s is not what it was: %s", n, out)
		}
		r.on(n, f.mends)
	}
	r.apply()
	r.rulesNeverOpen()
	if !watched {
		if got := r.on("fw01", "dpkg-query -W -f '${Version}' keepalived"); got != "1:"+version+"-1" {
			r.t.Errorf("the installed keepalived %s has become %s", version, got)
		}
	}
	r.holder(10 * time.Second)
	r.pings()
}

// shrugged are faults that a run gets over: locks that nobody holds any more, and
// an sshd that lets a connection have one session.
func (r *rig) shrugged() {
	standby := r.pair.Peer(r.holder(10 * time.Second)).Name
	back := r.change(someEdit...)
	r.on(standby, `mkdir -p /run/fwprov && printf 'mallory from afar\n2020-01-01T00:00:00Z\nold\n' >/run/fwprov/lock.holder && : >>/run/fwprov/lock
mkdir -p /tmp/fwprov.aaaaaaaaaa && systemctl stop conntrackd && : >/run/lock/conntrack.lock && : >>/run/xtables.lock
echo 'MaxSessions 1' >/etc/ssh/sshd_config.d/one.conf && { systemctl reload sshd || systemctl reload ssh; }`)
	f := r.always().during("stale locks and one session", func() { r.apply() })
	if f.lost > 0 || len(f.broken) > 0 || len(f.failed) > 0 {
		r.t.Errorf("stale locks and one session: the client noticed: %s", f)
	}
	if out := r.on(standby, "ls -d /tmp/fwprov.* 2>/dev/null; fuser /run/fwprov/lock 2>/dev/null; true"); out != "" {
		r.t.Errorf("left on %s: %s", standby, out)
	}
	r.on(standby, "rm /etc/ssh/sshd_config.d/one.conf; systemctl reload sshd || systemctl reload ssh")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.lab.WaitSSH(ctx, standby); err != nil { // it has closed its port for a moment
		r.t.Fatal(err)
	}
	back()
	r.apply()
	for _, n := range r.pair.Nodes {
		if out := r.on(n.Name, "ls -l /proc/[0-9]*/fd 2>/dev/null | grep '/run/fwprov/' || true"); out != "" {
			r.t.Errorf("something on %s has inherited a lock: %s", n.Name, out)
		}
	}
}
