package lab

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestVMGolden holds all that is rendered for the virtual machines of the guide's pair.
func TestVMGolden(t *testing.T) {
	p := guide()
	addVLAN(p, "lab", 7)
	top, err := Plan(p)
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{opts: Options{Name: "test"}, state: state{Machine: VM, Topology: top}}
	node, err := l.node("fw02")
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	section := func(title, content string) { s.WriteString("=== " + title + "\n" + content + "\n") }
	section("plug fw02", l.nodeBatch(node, l.cables(node)))
	section("nics of fw02", nics(node.Links))
	for _, b := range top.Bridges {
		if b.VLAN != 0 {
			section("sorter of "+b.Name, sorterBatch(b))
		}
	}
	section("qemu, emulated", strings.Join(qemuArgs("tcg", "/cache/vmlinuz", "/cache/initrd", ""), "\n")+"\n")
	section("qemu, probed", strings.Join(qemuArgs("kvm", "/cache/vmlinuz", "/cache/initrd", "lab.probe"), "\n")+"\n")
	section("qemu of fw02", strings.Join(nodeArgs(node, l.cables(node), "/cache/a,b/disk", "/run/machines/fw02"), "\n")+"\n")
	section("ssh", strings.Join(sshArgs("/home/id", address(node), []string{"echo", "it's"}), "\n")+"\n")
	golden(t, "vm.txt", s.String())
}

// What passes as a word on this side is one on the other.
func TestSSHWords(t *testing.T) {
	args := sshArgs("/id", netip.MustParseAddr("192.0.2.1"), []string{"sh", "-c", `printf '%s|' "$1" "$HOME"`, "sh", "a  b"})
	for i, a := range args {
		if a == "env" {
			// As sshd does it: all words in one line, for a shell.
			out, err := exec.Command("sh", "-c", strings.Join(args[i:], " ")).CombinedOutput()
			if err != nil || string(out) != "a  b|/root|" {
				t.Errorf("got %q, %v", out, err)
			}
			return
		}
	}
	t.Error("no command in " + strings.Join(args, " "))
}

func TestPossible(t *testing.T) {
	for _, tt := range []struct{ image, machine, want string }{
		{Debian, Container, ""},
		{EL, Container, ""},
		{"suse", Container, `there is no image "suse": debian or el`},
		{Debian, "cloud", `there is no machine "cloud": container or vm`},
		{EL, VM, "a virtual machine runs image debian, not el: the stand-in has no kernel of its own"},
	} {
		got := ""
		if err := (Options{Image: tt.image, Machine: tt.machine}).possible(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s on %s: got %q, want %q", tt.image, tt.machine, got, tt.want)
		}
	}
}

func TestVMStatusNotes(t *testing.T) {
	for _, tt := range []struct {
		state state
		want  []string
	}{
		{state{Machine: Container, Trunk: true}, nil},
		{state{Machine: Container}, []string{"this kernel has no 802.1q"}},
		{state{Machine: VM, Accelerator: "kvm"}, nil},
		{state{Machine: VM, Accelerator: "tcg"}, []string{"the virtual machines are emulated"}},
	} {
		got := notes(tt.state)
		if len(got) != len(tt.want) || len(got) == 1 && !strings.HasPrefix(got[0], tt.want[0]) {
			t.Errorf("%+v: got %q, want %q", tt.state, got, tt.want)
		}
	}
}

// TestMonitor pulls a cable at a monitor that speaks as qemu's does, with an
// event in between.
func TestMonitor(t *testing.T) {
	for _, tt := range []struct{ name, last, want string }{
		{"done", `{"return": {}}`, ""},
		{"refused", `{"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}}`, "fw01: its monitor: set_link: Device 'x' not found"},
		{"gone", ``, "fw01: its monitor: set_link: EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &Lab{opts: Options{Name: "m", StateDir: t.TempDir()}, state: state{Machine: VM}}
			if err := os.MkdirAll(l.path("machines", "fw01"), 0o700); err != nil {
				t.Fatal(err)
			}
			server, err := net.Listen("unix", monitor(l.path("machines", "fw01")))
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			heard := make(chan []string, 1)
			go serveMonitor(server, tt.last, heard)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			got := ""
			if err := l.setLink(ctx, "fw01", "eth1", false); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			want := []string{`{"execute":"qmp_capabilities"}`, `{"arguments":{"name":"` + port("fw01", "eth1") + `","up":false},"execute":"set_link"}`}
			if d := cmp.Diff(want, <-heard); d != "" {
				t.Errorf("what the monitor heard (-want +got):\n%s", d)
			}
		})
	}
}

// serveMonitor takes two commands and answers the second with last.
func serveMonitor(server net.Listener, last string, heard chan<- []string) {
	var said []string
	defer func() { heard <- said }()
	conn, err := server.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	in := json.NewDecoder(conn)
	_, _ = conn.Write([]byte(`{"QMP": {"version": {}, "capabilities": ["oob"]}}` + "\n"))
	for _, answer := range []string{`{"return": {}}`, `{"event": "RTC_CHANGE", "data": {"offset": 0}}` + "\n" + last} {
		var command json.RawMessage
		if in.Decode(&command) != nil {
			return
		}
		said = append(said, string(command))
		_, _ = conn.Write([]byte(answer + "\n"))
	}
}
