package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Machines that a node can be.
const (
	Container = "container" // a system of its own on this machine's kernel: boots in two seconds
	VM        = "vm"        // qemu with the distribution's own kernel: a real trunk, real reboots, netem
)

// memory of a virtual machine, in MiB.
const memory = 512

// vm reports whether the nodes are virtual machines.
func (l *Lab) vm() bool { return l.state.Machine == VM }

// cables are the links of a host that are real ones. A virtual machine has a
// kernel of its own, with 802.1q.
func (l *Lab) cables(h Host) []Link { return machineLinks(h, l.state.Trunk || l.vm()) }

// patience is how long a node may take to boot, or to notice what is done to it.
func (l *Lab) patience() time.Duration {
	if l.vm() {
		return 5 * time.Minute
	}
	return time.Minute
}

// layVM makes a node's disk, which holds what differs from the image's, and the
// initrd, which brings the files that make the machine this node.
func (l *Lab) layVM(ctx context.Context, h Host) error {
	img, err := images{l.opts.CacheDir, l.opts.Log}.ensure(ctx, "vm")
	if err != nil {
		return err
	}
	disk := l.disk(h.Name)
	if err := os.WriteFile(filepath.Join(disk, "node.nics"), []byte(nics(h.Links)), 0o600); err != nil {
		return err
	}
	// An archive that is not compressed must come first, where it is aligned.
	pack := `cd "$1" && find node node.nics | sort | cpio --quiet -o -H newc >initrd && cat "$2" >>initrd`
	if err := run(ctx, "sh", "-ec", pack, "sh", disk, filepath.Join(img, "initrd")); err != nil {
		return err
	}
	if err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", filepath.Join(img, "disk"), filepath.Join(disk, "disk")); err != nil {
		return err
	}
	dir := l.path("machines", h.Name)
	if err := l.writeEnv(dir, h.Name, img, nodeGroup(h.Name)); err != nil {
		return err
	}
	args := append(qemuArgs(l.state.Accelerator, filepath.Join(img, "vmlinuz"), filepath.Join(disk, "initrd"), ""),
		nodeArgs(h, l.cables(h), filepath.Join(disk, "disk"), dir)...)
	return writeLines(filepath.Join(dir, "args"), args)
}

// accelerator finds out how virtual machines run here. That there is a /dev/kvm
// does not say that it can run every kernel: one is booted.
func (l *Lab) accelerator(ctx context.Context) (string, error) {
	img, err := images{l.opts.CacheDir, l.opts.Log}.ensure(ctx, "vm")
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return "tcg", nil // emulated: it needs nothing from this machine
	}
	f.Close()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		append(qemuArgs("kvm", filepath.Join(img, "vmlinuz"), filepath.Join(img, "initrd"), "lab.probe"), "-serial", "stdio")...)
	if out, _ := cmd.Output(); strings.Contains(string(out), probeAnswer) {
		return "kvm", nil
	}
	if err := context.Cause(ctx); err == context.Canceled {
		return "", err
	}
	return "tcg", nil
}

// probeAnswer is what image/vm/init.sh says to lab.probe.
const probeAnswer = "init: it runs"

// qemuArgs are the arguments of qemu that any machine has.
func qemuArgs(accelerator, kernel, initrd, more string) []string {
	options := "console=ttyS0 net.ifnames=0 panic=1 loglevel=4"
	cpu, accel := "host", "kvm"
	if accelerator != "kvm" {
		// Code at random addresses is translated anew for every process: without, a
		// process takes a tenth of the time to start.
		cpu, accel, options = "max", "tcg,tb-size=256", options+" norandmaps"
	}
	if more != "" {
		options += " " + more
	}
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", accel, "-cpu", cpu, "-smp", "1", "-m", fmt.Sprint(memory),
		"-kernel", kernel, "-initrd", initrd, "-append", options,
	}
}

// nodeArgs are the arguments of qemu that one node has: its disk, its cables,
// its console, and the monitor by which its cables are pulled.
func nodeArgs(h Host, cables []Link, disk, dir string) []string {
	args := []string{
		"-name", h.Name,
		"-drive", "if=none,id=disk,format=qcow2,file=" + comma(disk), "-device", "virtio-blk-pci,drive=disk",
		"-chardev", "file,id=console,append=on,path=" + comma(filepath.Join(dir, "log")), "-serial", "chardev:console",
		"-qmp", "unix:" + comma(monitor(dir)) + ",server=on,wait=off",
	}
	for _, c := range cables {
		p := port(h.Name, c.Interface)
		args = append(args,
			"-netdev", fmt.Sprintf("tap,id=%s,ifname=%[1]s,script=no,downscript=no", p),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s,romfile=", p, c.MAC))
	}
	return args
}

// comma is how qemu wants one in a value.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// monitor is the socket on which a machine's qemu takes commands.
func monitor(dir string) string { return filepath.Join(dir, "qmp") }

// nics is what image/vm/init.sh names the interfaces by.
func nics(links []Link) string {
	var s strings.Builder
	for _, l := range links {
		if l.VLAN == 0 {
			fmt.Fprintf(&s, "%s %s\n", l.MAC, l.Interface)
		}
	}
	return s.String()
}

// tapBatch connects a virtual machine to its switches, run in their namespace.
// qemu takes the other end.
func tapBatch(h Host, links []Link) string {
	var s strings.Builder
	for _, l := range links {
		p := port(h.Name, l.Interface)
		fmt.Fprintf(&s, "tuntap add dev %s mode tap\nlink set %[1]s master %s up\n", p, l.Bridge)
	}
	return s.String()
}

// sorterBatch makes the two ports of the sorter of a VLAN: the tagged one on the
// trunk, and the other on the VLAN's own switch.
func sorterBatch(b Bridge) string {
	var s strings.Builder
	for _, p := range []struct{ name, bridge string }{{taggedPort(b), bridgeTrunk}, {plainPort(b), b.Name}} {
		fmt.Fprintf(&s, "tuntap add dev %s mode tap\nlink set %[1]s master %s up\n", p.name, p.bridge)
	}
	return s.String()
}

func taggedPort(b Bridge) string { return fmt.Sprintf("tagged.%d", b.VLAN) }
func plainPort(b Bridge) string  { return fmt.Sprintf("plain.%d", b.VLAN) }

// addSorter connects the trunk with the switch of a VLAN, where the kernel of
// this machine knows no tags: a program takes them off and puts them on.
func (l *Lab) addSorter(ctx context.Context, b Bridge) error {
	if err := l.ipBatch(ctx, switchHost, sorterBatch(b)); err != nil {
		return err
	}
	dir := l.path("machines", b.Name+".sorter")
	if err := l.writeEnv(dir, switchHost, "", "sorter."+b.Name); err != nil {
		return err
	}
	return background(ctx, filepath.Join(dir, "log"), "nsenter", "--net="+netnsPath(l.opts.Name, switchHost),
		"sh", l.path("run", "start.sh"), dir,
		"perl", l.path("run", "sort.pl"), taggedPort(b), plainPort(b), fmt.Sprint(b.VLAN))
}

// overSSH is a command on a virtual machine, run from the admin host, with options
// of ssh.
func (l *Lab) overSSH(ctx context.Context, h Host, command []string, options ...string) *exec.Cmd {
	args := append([]string{"--net=" + netnsPath(l.opts.Name, Admin), "--", "ssh"}, options...)
	return exec.CommandContext(ctx, "nsenter", append(args, sshArgs(l.path("home", ".ssh", "id_ed25519"), address(h), command)...)...)
}

// sshArgs are the arguments of ssh for a command on a node. Who answers is no
// question in a network of the lab's own, whatever a test does to known_hosts.
func sshArgs(key string, addr netip.Addr, command []string) []string {
	args := []string{"-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@" + addr.String(), "env", "-i"}
	for _, word := range append(nodeEnv, command...) {
		args = append(args, quote(word))
	}
	return args
}
