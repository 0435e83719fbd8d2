package steps

import (
	"crypto/sha256"
	"fmt"
	"regexp"

	"fwprov/provision"
)

// Where the stacks keep their files.
const (
	ifupdownFile   = "/etc/network/interfaces.d/fwprov" // no dot: source-directory would pass it over
	nmDir          = "/etc/NetworkManager/system-connections/"
	networkdDir    = "/etc/systemd/network/"
	networkdPrefix = "05-fwprov-" // before a file for all e*, and before netplan's
	networkdConf   = "/etc/systemd/networkd.conf.d/fwprov.conf"
	networkdUnit   = "/etc/systemd/system/" + networkdService + ".d/fwprov.conf"
	ifcfgDir       = "/etc/sysconfig/network-scripts/"
)

const networkdService = "systemd-networkd.service"

// interfaceData is what the templates see.
type interfaceData struct {
	vlanInterface
	Trunk     string
	OwnTrunk  bool // the trunk needs a file of ours
	UUID      string
	TrunkUUID string
	All       []vlanInterface
}

// Files are those that bring the interfaces up at boot.
func (s interfaces) Files(f provision.Facts) []provision.File {
	want := s.want(f)
	d := interfaceData{Trunk: s.pair.Inside.Interface, All: want, TrunkUUID: s.uuid(s.pair.Inside.Interface)}
	stack := f.Get("os", "network")
	switch {
	case stack == "networkd":
		return s.networkdFiles(f, d)
	case len(want) == 0:
		return nil
	case stack == "networkmanager":
		return s.nmFiles(d)
	case stack == "ifcfg":
		return s.ifcfgFiles(f, d)
	}
	d.OwnTrunk = want[0].VLAN && f.Get("ifupdown", d.Trunk) == ""
	return []provision.File{{Path: ifupdownFile, Content: render(ifupdownTemplates, d)}}
}

func (s interfaces) nmFiles(d interfaceData) []provision.File {
	var out []provision.File
	files := parsed(nmTemplates)
	add := func(name, kind string) {
		out = append(out, provision.File{Path: nmDir + "fwprov-" + name + ".nmconnection", Mode: 0o600, // it ignores others
			Content: files.render(kind, d)})
	}
	if d.All[0].VLAN {
		add(d.Trunk, "trunk")
	}
	for _, d.vlanInterface = range d.All {
		d.UUID = s.uuid(d.Name)
		add(d.Name, "interface")
	}
	return out
}

// uuid names a connection for NetworkManager: random to look at, and always the
// same.
func (s interfaces) uuid(name string) string {
	h := sha256.Sum256([]byte("fwprov " + s.pair.Name + " " + s.node.Name + " " + name))
	h[6], h[8] = h[6]&0x0f|0x50, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// networkFile is a path of a .network file that is safe to make a drop-in for.
var networkFile = regexp.MustCompile(`^/(?:etc|run|usr/lib|lib)/systemd/network/([A-Za-z0-9][A-Za-z0-9._-]*\.network)$`)

func (s interfaces) networkdFiles(f provision.Facts, d interfaceData) []provision.File {
	files := parsed(networkdTemplates)
	out := []provision.File{
		{Path: networkdConf, Content: files.render("daemon", d)},
		{Path: networkdUnit, Content: files.render("unit", "mkdir -p "+provision.LoadedDir+
			" && cat "+networkdConf+" | sha256sum >"+provision.LoadedDir+"/"+networkdService)},
	}
	if m := networkFile.FindStringSubmatch(f.Get("networkd", s.pair.Outside.Interface)); m != nil {
		out = append(out, provision.File{Path: networkdDir + m[1] + ".d/fwprov.conf", Content: files.render("outside", d)})
	}
	add := func(name, ext, kind string) {
		out = append(out, provision.File{Path: networkdDir + networkdPrefix + name + ext, Content: files.render(kind, d)})
	}
	if len(d.All) > 0 && d.All[0].VLAN {
		add(d.Trunk, ".network", "trunk")
	}
	for _, d.vlanInterface = range d.All {
		if d.VLAN {
			add(d.Name, ".netdev", "netdev")
		}
		add(d.Name, ".network", "interface")
	}
	return out
}

func (s interfaces) ifcfgFiles(f provision.Facts, d interfaceData) []provision.File {
	var out []provision.File
	files := parsed(ifcfgTemplates)
	add := func(name, kind string) {
		out = append(out, provision.File{Path: ifcfgDir + "ifcfg-" + name, Content: files.render(kind, d)})
	}
	trunk := ifcfgDir + "ifcfg-" + d.Trunk
	if ours := f.Get("managed", "file", trunk) != ""; d.All[0].VLAN && (ours || f.Get("ifcfg", "trunk") == "") {
		add(d.Trunk, "trunk")
	}
	for _, d.vlanInterface = range d.All {
		add(d.Name, "interface")
	}
	return out
}
