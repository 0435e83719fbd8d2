package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// file is one file of a node's disk, written before its first boot.
type file struct {
	path    string
	mode    os.FileMode
	uid     int // owner and group
	content string
}

// makeNode lays out a node's disk and what its supervisor needs. The image
// itself lies below the disk and is not copied.
func (l *Lab) makeNode(ctx context.Context, h Host, keys *keys) error {
	tree, err := images{l.opts.CacheDir, l.opts.Log}.ensure(ctx, l.state.Image)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(l.disk(h.Name)); err != nil {
		return err
	}
	upper := filepath.Join(l.disk(h.Name), "upper")
	if l.vm() {
		upper = filepath.Join(l.disk(h.Name), "node")
	}
	files := l.nodeFiles(h, keys)
	account, err := loginFiles(tree, l.state.Topology.SSH, keys.authorized)
	if err != nil {
		return err
	}
	for _, f := range append(files, account...) {
		if err := writeDisk(upper, tree, f); err != nil {
			return err
		}
	}
	dir := l.path("machines", h.Name)
	if err := l.writeEnv(dir, h.Name, tree, nodeGroup(h.Name)); err != nil {
		return err
	}
	if err := l.writeCables(h); err != nil {
		return err
	}
	if l.vm() {
		return l.layVM(ctx, h)
	}
	return writeLines(filepath.Join(dir, "args"), []string{"--boot", "--machine=" + h.Name})
}

// nodeFiles is what makes a machine this node.
func (l *Lab) nodeFiles(h Host, keys *keys) []file {
	files := []file{
		{"etc/hostname", 0o644, 0, h.Name + "\n"},
		{"etc/hosts", 0o644, 0, etcHosts(h)},
		{"etc/machine-id", 0o444, 0, machineID(l.opts.Name, h.Name) + "\n"},
		{"root/.ssh/authorized_keys", 0o600, 0, keys.authorized},
		{"home/ops/.ssh/authorized_keys", 0o600, 1000, keys.authorized},
	}
	for _, k := range keys.host[h.Name] {
		files = append(files,
			file{"etc/ssh/" + k.name, 0o600, 0, k.private},
			file{"etc/ssh/" + k.name + ".pub", 0o644, 0, k.public})
	}
	if l.state.Image == Debian {
		return append(files, file{"etc/network/interfaces", 0o644, 0, interfaces(h)})
	}
	for _, link := range h.Links {
		if link.VLAN == 0 {
			path := "etc/NetworkManager/system-connections/" + link.Interface + ".nmconnection"
			files = append(files, file{path, 0o600, 0, keyfile(h, link)})
		}
	}
	return files
}

// loginFiles are the account and the port that the inventory wants beside root
// and port 22, as its administrator would have set them up.
func loginFiles(tree string, login Login, authorized string) ([]file, error) {
	var files []file
	if login.Port != 22 {
		files = append(files,
			file{"etc/ssh/sshd_config.d/port.conf", 0o644, 0, fmt.Sprintf("Port 22\nPort %d\n", login.Port)},
			file{"etc/firewalld/zones/public.xml", 0o644, 0, fmt.Sprintf(publicZone, login.Port)})
	}
	const uid = 2000
	passwd, err := os.ReadFile(filepath.Join(tree, "etc/passwd"))
	if err != nil || strings.Contains("\n"+string(passwd), "\n"+login.User+":") {
		return files, err
	}
	for name, line := range map[string]string{
		"passwd": fmt.Sprintf("%s:x:%d:%[2]d::/home/%[1]s:/bin/bash\n", login.User, uid),
		"group":  fmt.Sprintf("%s:x:%d:\n", login.User, uid),
		"shadow": fmt.Sprintf("%s:*:19000:0:99999:7:::\n", login.User),
	} {
		data, err := os.ReadFile(filepath.Join(tree, "etc", name))
		if err != nil {
			return nil, err
		}
		mode := os.FileMode(0o644)
		if name == "shadow" {
			mode = 0o600
		}
		files = append(files, file{"etc/" + name, mode, 0, string(data) + line})
	}
	return append(files,
		file{"home/" + login.User + "/.ssh/authorized_keys", 0o600, uid, authorized},
		file{"etc/sudoers.d/" + login.User, 0o440, 0, login.User + " ALL=(ALL:ALL) NOPASSWD: ALL\n"}), nil
}

// publicZone is firewalld's default zone with one more port.
const publicZone = `<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <service name="ssh"/>
  <service name="dhcpv6-client"/>
  <port port="%d" protocol="tcp"/>
</zone>
`

// writeDisk puts a file on top of an image. Folders that the image has keep the
// mode and the owner they have there; new ones belong to the file's owner.
func writeDisk(upper, tree string, f file) error {
	if err := mirrorDirs(upper, tree, filepath.Dir(f.path), f.uid); err != nil {
		return err
	}
	path := filepath.Join(upper, f.path)
	if err := os.WriteFile(path, []byte(f.content), f.mode); err != nil {
		return err
	}
	return os.Chown(path, f.uid, f.uid)
}

func mirrorDirs(upper, tree, dir string, uid int) error {
	if dir != "." {
		if err := mirrorDirs(upper, tree, filepath.Dir(dir), uid); err != nil {
			return err
		}
	} else if err := os.MkdirAll(upper, 0o755); err != nil {
		return err
	}
	path := filepath.Join(upper, dir)
	mode, owner := os.FileMode(0o700), uid
	if info, err := os.Stat(filepath.Join(tree, dir)); err == nil {
		mode = info.Mode().Perm()
		owner = ownerOf(info)
	}
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return os.Chown(path, owner, owner)
}

// machineID is the same whenever a lab of that name is built.
func machineID(lab, host string) string {
	sum := sha256.Sum256([]byte(lab + "\x00" + host))
	return hex.EncodeToString(sum[:16])
}

// writeCables writes what the supervisor runs whenever the node is switched on.
func (l *Lab) writeCables(h Host) error {
	links := l.cables(h)
	for name, content := range map[string]string{
		"plug":   l.nodeBatch(h, links),
		"unplug": unplugBatch(h, links),
		"setup":  setupBatch(h),
	} {
		if err := os.WriteFile(l.path("machines", h.Name, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// plugNode connects new cables to a node, now if it runs and at every boot.
func (l *Lab) plugNode(ctx context.Context, h Host, cables []Link) error {
	if err := l.writeCables(h); err != nil {
		return err
	}
	if !l.running(h.Name) {
		return nil
	}
	return l.ipBatch(ctx, switchHost, l.nodeBatch(h, cables))
}

// nodeBatch connects cables to a node.
func (l *Lab) nodeBatch(h Host, cables []Link) string {
	if l.vm() {
		return tapBatch(h, cables)
	}
	return plugBatch(l.opts.Name, h, cables)
}

// startNode switches a node on.
func (l *Lab) startNode(ctx context.Context, name string) error {
	dir := l.path("machines", name)
	return background(ctx, filepath.Join(dir, "log"), "sh", l.path("run", "supervise.sh"), dir)
}

func nodeGroup(name string) string { return "node." + name }

// consoleTail is the end of what a node printed, for an error message.
func (l *Lab) consoleTail(name string) string {
	data, err := os.ReadFile(l.path("machines", name, "log"))
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return lastLines(data, 15)
}
