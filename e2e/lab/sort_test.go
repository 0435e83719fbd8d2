package lab

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSort sends frames through the sorter of VLAN 7, in a network namespace of the
// test's own.
func TestSort(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces take root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("this kernel has no tap devices: %v", err)
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and with it the namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	b := Bridge{Name: "vlan7", VLAN: 7}
	for _, p := range []string{taggedPort(b), plainPort(b)} {
		if out, err := exec.Command("sh", "-c", "ip tuntap add dev "+p+" mode tap && ip link set "+p+" up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	script, err := embedded.ReadFile("run/sort.pl")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("perl", "-", taggedPort(b), plainPort(b), "7")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(script), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()

	// Of a type that nothing else in the namespace sends.
	frame := func(tags ...uint16) []byte {
		f := bytes.Repeat([]byte{2}, 12)
		for _, tag := range tags {
			f = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(f, 0x8100), tag)
		}
		return append(binary.BigEndian.AppendUint16(f, 0x88b5), bytes.Repeat([]byte("x"), 50)...)
	}
	tagged, plain := wire(t, taggedPort(b)), wire(t, plainPort(b))
	carried(t, "the tag is taken off", tagged, plain, frame(7), frame())
	carried(t, "a priority goes with it", tagged, plain, frame(0xe007), frame())
	carried(t, "a tag within stays", tagged, plain, frame(7, 9), frame(9))
	carried(t, "the tag is put on", plain, tagged, frame(), frame(7))
	for _, other := range [][]byte{frame(8), frame(), frame(0x0f07)} {
		tagged.send(t, other)
	}
	carried(t, "what belongs to others is left alone", tagged, plain, frame(7), frame())
}

// wireEnd is the switch's end of a port.
type wireEnd int

func wire(t *testing.T, name string) wireEnd {
	t.Helper()
	dev, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(all))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index}); err != nil {
		t.Fatal(err)
	}
	// The kernel takes a tag out of what it shows; it tells it beside.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		t.Fatal(err)
	}
	limit := unix.NsecToTimeval((10 * time.Second).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	return wireEnd(fd)
}

func (w wireEnd) send(t *testing.T, frame []byte) {
	t.Helper()
	// The other end may not have been opened yet: the port has no carrier till then.
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := unix.Write(int(w), frame)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks of a wait with a deadline
	}
}

// get is the next frame of the test's own that comes in, with its tag.
func (w wireEnd) get(t *testing.T) []byte {
	t.Helper()
	for {
		data, beside := make([]byte, 2048), make([]byte, 256)
		n, k, _, from, err := unix.Recvmsg(int(w), data, beside, 0)
		if err != nil {
			t.Fatal(err)
		}
		data = data[:n]
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING || !bytes.HasPrefix(data, bytes.Repeat([]byte{2}, 12)) {
			continue
		}
		msgs, err := unix.ParseSocketControlMessage(beside[:k])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			const status, tci = 0, 16 // of struct tpacket_auxdata
			if binary.NativeEndian.Uint32(m.Data[status:])&unix.TP_STATUS_VLAN_VALID != 0 {
				tag := binary.BigEndian.AppendUint16([]byte{0x81, 0}, binary.NativeEndian.Uint16(m.Data[tci:]))
				data = append(append(bytes.Clone(data[:12]), tag...), data[12:]...)
			}
		}
		return data
	}
}

func carried(t *testing.T, what string, in, out wireEnd, frame, want []byte) {
	t.Helper()
	in.send(t, frame)
	if got := out.get(t); !bytes.Equal(got, want) {
		t.Errorf("%s: got %x, want %x", what, got, want)
	}
}
